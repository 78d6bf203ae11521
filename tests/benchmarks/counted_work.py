"""Every answer that a device computes, as work on a counting array: what `test_bench_counts` counts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from counting import asarray

from penult_kernels.arrays import to_host
from penult_kernels.groupings.gic import hidden_value
from penult_kernels.groupings.kmeans import kmeans
from penult_kernels.groupings.mixture import fit_mixtures
from penult_kernels.groupings.pca import principal_axes
from penult_kernels.groupings.points import Points
from penult_kernels.groupings.silhouette import silhouettes
from penult_kernels.groupings.ssa import Few, spread_attribute
from penult_kernels.groupings.twin_heads import twin_heads
from penult_kernels.groupings.views import GaussianView
from penult_kernels.linear.closed_forms import lda, nearest_mean, ridge
from penult_kernels.linear.solve import Intercept, Link, Problem, Standardize, solve
from penult_kernels.metrics.accuracy import group_metrics
from penult_kernels.metrics.head_scores import HeadScorer, logits_of_heads
from penult_kernels.moments.accumulation import moments_of
from penult_kernels.moments.moments import pool
from penult_kernels.neighbours.search import nearest
from penult_kernels.neighbours.space import Metric
from penult_kernels.rows import ArrayRows
from penult_kernels.spectra.inference import infer_imbalance
from penult_kernels.spectra.spectrum import spectrum_from_moments, spectrum_from_rows
from penult_kernels.trajectories.descend import descend
from penult_kernels.trajectories.settings import TrajectorySettings

CS = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)
"""scikit-learn's C of the penalties that DFR tunes over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Rows of four groups, and draws of equally many rows of each."""

    features: np.ndarray
    """(N, D) float32, standardised."""
    y: np.ndarray
    g: np.ndarray
    draws: list[np.ndarray]
    many: np.ndarray
    """More rows than columns, for moments and a path."""
    many_y: np.ndarray
    many_g: np.ndarray
    steps: int
    """Of descents."""
    replicates: int


def small() -> Data:
    """A few rows, with the shapes' order of the full ones: fewer rows than columns, and more."""
    rng = np.random.default_rng(0)

    def drawn(n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
        g = rng.choice(4, n, p=(0.39, 0.11, 0.11, 0.39))
        rows = rng.standard_normal((n, d)) * np.arange(1, d + 1.0) ** -0.5
        rows[:, 0] += g // 2
        rows[:, 1] += g % 2
        return rows.astype(np.float32), g

    features, g = drawn(160, 96)
    many, many_g = drawn(3000, 24)
    draws = [balanced(g, rng) for _ in range(4)]
    return Data(
        features=features, y=g // 2, g=g, draws=draws, many=many, many_y=many_g // 2, many_g=many_g,
        steps=5, replicates=4
    )  # fmt: skip


def full() -> Data:
    """Real features, as in the benchmarks of refits."""
    from workloads import correlated, footwear

    features, y, g = footwear(1199)
    deviation = features.std(axis=0)
    z = ((features - features.mean(axis=0)) / np.where(deviation > 0, deviation, 1)).astype(np.float32)
    many, many_y = correlated(60_000, 1199)
    rng = np.random.default_rng(0)
    draws = [balanced(g, rng) for _ in range(20)]
    many_g = 2 * many_y + (np.arange(len(many)) % 9 == 0)
    return Data(
        features=z, y=y, g=g, draws=draws, many=many, many_y=many_y, many_g=many_g, steps=500, replicates=200
    )  # fmt: skip


def balanced(g: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ascending rows, as many of each group as the smallest has."""
    smallest = np.bincount(g).min()
    return np.sort(np.concatenate([rng.permutation(np.flatnonzero(g == k))[:smallest] for k in range(4)]))


def works(data: Data) -> dict[str, tuple[Callable[[], Any], int]]:
    """Name -> the work, and how many answers it gives (penalties, groups, steps): counts are read per answer, too."""
    rows, many = asarray(data.features), asarray(data.many)
    y, g, draws = data.y, data.g, data.draws
    moments = moments_of(many, data.many_g, 4)
    of_groups = [(moments.m2[k, :, :], float(moments.count[k]), moments.mean[k, :]) for k in range(4)]
    by_group = [asarray(data.features[g == k]) for k in range(4)]
    dfr = [Problem(rows=own, l2=1 / (c * own.size), link=Link.OVR) for own in draws for c in CS]
    path = [Problem(l2=float(l2), link=Link.OVR) for l2 in np.logspace(1, -7, 45)]
    one = TrajectorySettings(learning_rate=0.01, steps=data.steps, clip_norm=1.0)
    settings = [
        Problem(weight=np.exp(-gamma * np.linspace(0, 1, len(y))), l2=l2)
        for gamma in np.linspace(4, 20, 33)
        for l2 in (0, 0.2, 0.4, 0.6)
    ]
    heads = [solve(rows, y, 2, [Problem(l2=0.1)])[0] for _ in range(2)]
    on_host = [
        type(head)(weight=to_host(head.weight), bias=to_host(head.bias), certificate=head.certificate) for head in heads
    ]
    scorer = HeadScorer(rows, y, g, 2, 4)
    logits = logits_of_heads(rows, on_host)[0]
    points = Points(rows=rows)
    labels = np.arange(len(y)) % 3
    few = Few(features=asarray(data.features[draws[0]]), y=y[draws[0]], a=g[draws[0]] % 2)
    narrow = rows_64(rows[:, :8])
    center = asarray(data.features[:, :8].mean(axis=0, dtype=np.float64))
    views = [GaussianView(rows=narrow, center=center, covariance_type="diag", floor=1e-3)]
    return {
        "moments of resident rows, 4 groups": (lambda: moments_of(many, data.many_g, 4), 4),
        "classes from moments of groups": (lambda: pool(moments, (0, 0, 1, 1), 2), 2),
        "spectra of 4 groups from moments": (
            lambda: [spectrum_from_moments(m2, n, mean=mean) for m2, n, mean in of_groups], 4,
        ),
        "the same with vectors": (
            lambda: [spectrum_from_moments(m2, n, mean=mean, vectors=True) for m2, n, mean in of_groups], 4,
        ),
        "spectra of 4 groups from rows": (lambda: [spectrum_from_rows(own, top_k=5) for own in by_group], 4),
        "imbalance with replicates": (
            lambda: infer_imbalance(by_group[1], by_group[0], replicates=data.replicates), 5 * data.replicates,
        ),
        "L2 refits of draws by 7 penalties": (lambda: solve(rows, y, 2, dfr, tolerance=1e-4), len(dfr)),
        "the same, each draw standardised": (
            lambda: solve(
                rows, y, 2,
                [Problem(rows=own, l2=0.01, standardize=Standardize.ROWS, link=Link.OVR) for own in draws],
            ),
            len(draws),
        ),
        "an L2 path of 45 penalties": (lambda: solve(many, data.many_y, 2, path, tolerance=1e-6), 45),
        "a softmax of 4 classes with L2": (lambda: solve(rows, g, 4, [Problem(l2=0.01)]), 1),
        "an L1 path of 7 (on the host)": (
            lambda: solve(
                rows, y, 2,
                [
                    Problem(rows=draws[0], l1=1 / (c * draws[0].size), link=Link.OVR, intercept=Intercept.PENALIZED)
                    for c in CS
                ],
                tolerance=1e-5,
            ),
            7,
        ),
        "one warm weighted refit (a round of group DRO)": (
            lambda: solve(rows, y, 2, [Problem(weight=1.0 + g, l2=0.1, start=heads[0])]), 1,
        ),
        "ridge, LDA and nearest mean": (
            lambda: (ridge(moments, 2, l2=[0.1, 1.0]), lda(moments, 2, shrinkage=0.1), nearest_mean(moments, 2)), 4,
        ),
        "trajectories: 132 settings": (lambda: descend(rows, y, 2, settings, [one] * 132), data.steps),
        "logits of 2 heads": (lambda: logits_of_heads(rows, on_host), 2),
        "group metrics": (lambda: group_metrics(logits, y, g, 4), 1),
        "group accuracies of 2 heads": (
            lambda: scorer.group_accuracies(stacked(heads, "weight"), stacked(heads, "bias")), 2,
        ),
        "neighbours, own graph, k = 10": (lambda: nearest(ArrayRows(rows), 10, Metric.L2), len(y)),
        "neighbours among other rows, k = 10": (
            lambda: nearest(ArrayRows(rows), 10, Metric.COSINE, queries=ArrayRows(by_group[0])), len(by_group[0].shape),
        ),
        "principal axes, 5": (lambda: principal_axes(rows, 5), 5),
        "k-means, k = 2 ... 4, 3 starts": (
            lambda: kmeans(points, (2, 3, 4), rng=np.random.default_rng(0), n_init=3, max_iterations=20), 3,
        ),
        "silhouettes of 3 labelings": (lambda: silhouettes(rows_64(rows), [labels, labels // 2, 2 - labels]), 3),
        "mixtures, 2 runs of 3": (
            lambda: fit_mixtures(views, [one_hot(labels), one_hot(2 - labels)], max_iterations=10), 2,
        ),
        "twin heads, 2 seeds": (lambda: twin_heads(rows, y, 2, seeds=[0, 1], steps=data.steps), data.steps),
        "SSA, one round": (lambda: spread_attribute(rows, y, few, n_classes=2, n_values=2, rounds=1), 1),
        "GIC": (
            lambda: hidden_value(rows, y, few.features, few.y, n_classes=2, steps=data.steps), data.steps,
        ),
    }  # fmt: skip


def stacked(heads: list[Any], name: str) -> Any:
    """(P, ...) one array of the heads' own."""
    from counting import xp

    return xp.stack([getattr(head, name) for head in heads])


def rows_64(rows: Any) -> Any:
    """In float64."""
    from counting import xp

    return xp.astype(rows, xp.float64)


def one_hot(labels: np.ndarray) -> np.ndarray:
    """(n, k) 1.0 where a row has the label."""
    return (labels[:, None] == np.arange(labels.max() + 1)).astype(np.float64)
