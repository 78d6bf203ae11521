"""Refits solved together, beside the same work done one by one and by scikit-learn.

Rows are penultimate features of the packaged dataset by the untouched backbone, 1,199 of them with the group counts of
Waterbirds' validation split; the wider case adds 768 rectified random projections of these features.
Medians are of single fits, scaled by their count where a peer would take minutes.
"""

import time
import warnings
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from penult_kernels.heads import HeadScorer, SelectionMetric
from penult_kernels.refit_engine import (
    Head,
    Intercept,
    Keep,
    Link,
    PathSettings,
    Problem,
    Scaler,
    Standardize,
    descend,
    solve,
)
from penult_server.backbones.model import load_backbone
from penult_server.datasets.footwear.dataset import FootwearDataset

COUNTS = (467, 133, 133, 466)
CS = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@cache
def footwear(n: int):
    """Features (n, 1280), classes and groups of rows of all splits, groups in the proportions of COUNTS."""
    data = FootwearDataset()
    splits = ("train", "val", "test")
    where = [(split, row) for split in splits for row in range(len(data.info.splits[split].y))]
    y = np.concatenate([data.info.splits[split].y for split in splits])
    g = 2 * y + np.concatenate([data.info.splits[split].a[:, 0] for split in splits])
    rng = np.random.default_rng(0)
    kept = [rng.permutation(np.flatnonzero(g == k))[: max(2, count * n // 1199)] for k, count in enumerate(COUNTS)]
    rows = np.sort(np.concatenate(kept))
    classifier = load_backbone("tf_efficientnet_lite0", 2, pretrained=True, seed=0, image_size=96)
    parts = []
    with torch.inference_mode():
        for first in range(0, rows.size, 64):
            images = [data.examples(where[row][0])[where[row][1]] for row in rows[first : first + 64]]
            batch = classifier.preprocessing.to_batch(images, torch.device("cpu"))
            parts.append(classifier.forward_with_features(batch)[0].numpy())
    return np.concatenate(parts), y[rows], g[rows]


def balanced(rows, g, rng):
    smallest = min(np.sum(g[rows] == k) for k in range(4))
    return np.sort(np.concatenate([rng.permutation(rows[g[rows] == k])[:smallest] for k in range(4)]))


def worst_group(predicted, y, g) -> float:
    return min(float((predicted[g == k] == y[g == k]).mean()) for k in range(4))


def binary_objective(w, b, z, y, *, l1: float = 0.0, l2: float = 0.0) -> float:
    """liblinear's with l1 (its intercept is penalised), lbfgs's with l2."""
    scores = z.astype(np.float64) @ w + b
    losses = np.logaddexp(0, -(2 * y - 1) * scores).mean()
    return float(losses + l1 * (np.abs(w).sum() + abs(b)) + l2 / 2 * (w**2).sum())


def liblinear(z, y, c: float):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = LogisticRegression(penalty="l1", l1_ratio=1.0, C=c, solver="liblinear", random_state=0).fit(z, y)
    return fit, binary_objective(fit.coef_[0], fit.intercept_[0], z, y, l1=1 / (c * len(y)))


@pytest.mark.parametrize("width", [1280, 2048])
def test_dfr_beside_liblinear(width: int, at_full_size: bool) -> None:
    """Seven penalties tuned on one half, twenty draws of all rows averaged; the reference's draws for both."""
    features, y, g = footwear(1199 if at_full_size else 60)
    if width > 1280:
        projection = np.random.default_rng(1).standard_normal((1280, width - 1280), dtype=np.float32) / 36
        features = np.concatenate([features, np.maximum(features @ projection, 0)], axis=1)
    rng = np.random.default_rng(0)
    order, everything = rng.permutation(len(y)), np.arange(len(y))
    score, fit = order[: len(y) // 2], balanced(order[len(y) // 2 :], g, rng)
    draws = [balanced(everything, g, rng) for _ in range(20)]
    theirs: list[float] = []
    ours: list[float] = []
    chosen: list[float] = []

    def reference() -> None:
        scaler = StandardScaler().fit(features[fit])
        z, seen = scaler.transform(features[fit]), scaler.transform(features[score])
        fits = [liblinear(z, y[fit], c) for c in CS]
        accuracies = [worst_group(one.predict(seen), y[score], g[score]) for one, _ in fits]
        chosen.append(CS[int(np.argmax(accuracies))])
        z = StandardScaler().fit_transform(features)
        theirs.extend([found for _, found in fits] + [liblinear(z[rows], y[rows], chosen[0])[1] for rows in draws])

    def together() -> None:
        convention = Problem(link=Link.OVR, intercept=Intercept.PENALIZED)
        tuned = solve(
            features, y, 2, [_l1(convention, fit, 1 / (c * fit.size), Standardize.ROWS) for c in CS], tolerance=1e-6
        )
        for one in tuned:
            worst_group(np.argmax(features[score] @ one.weight.T + one.bias, axis=1), y[score], g[score])
        scaler = Scaler(mean=features.mean(axis=0, dtype=np.float64), scale=features.std(axis=0, dtype=np.float64))
        scaler.scale[scaler.scale == 0] = 1.0
        final = [_l1(convention, rows, 1 / (chosen[0] * rows.size), scaler) for rows in draws]
        ours.extend(one.certificate.objective for one in tuned + solve(features, y, 2, final, tolerance=1e-6))

    taken = seconds(reference), seconds(together)
    assert (np.asarray(ours) <= np.asarray(theirs) + 1e-9).all()
    print(
        f"\nDFR as published, {len(y)} x {width}, 27 L1 fits, C = {chosen[0]} chosen: liblinear {taken[0]:.2f} s, "
        f"together {taken[1]:.2f} s: {taken[0] / taken[1]:.1f} x (5 x asked for), no objective higher"
    )


def _l1(like: Problem, rows, l1: float, standardize) -> Problem:
    return Problem(rows=rows, l1=l1, link=like.link, intercept=like.intercept, standardize=standardize)


def test_l2_refits_beside_lbfgs(at_full_size: bool) -> None:
    """Twenty balanced subsets by seven penalties."""
    features, y, g = footwear(1199 if at_full_size else 60)
    rng = np.random.default_rng(0)
    draws = [balanced(np.arange(len(y)), g, rng) for _ in range(20)]
    mean, scale = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    scale[scale == 0] = 1.0
    z = ((features - mean) / scale).astype(np.float32)
    theirs: list[float] = []
    ours: list[float] = []

    def reference() -> None:
        for rows in draws:
            for c in CS:
                fit = LogisticRegression(C=c, max_iter=1000).fit(z[rows], y[rows])
                w, b = fit.coef_[0].astype(np.float64), fit.intercept_[0]
                theirs.append(binary_objective(w, b, z[rows], y[rows], l2=1 / (c * rows.size)))

    def together() -> None:
        problems = [Problem(rows=rows, l2=1 / (c * rows.size), link=Link.OVR) for rows in draws for c in CS]
        ours.extend(one.certificate.objective for one in solve(z, y, 2, problems, tolerance=1e-8))

    taken = seconds(reference), seconds(together)
    assert (np.asarray(ours) <= np.asarray(theirs) + 1e-9).all()
    print(
        f"\n140 L2 refits of {draws[0].size} x 1280: lbfgs (float32) {taken[0]:.2f} s, together {taken[1]:.2f} s: "
        f"{taken[0] / taken[1]:.1f} x (20 x asked for), no objective higher"
    )


def test_afr_beside_one_by_one(at_full_size: bool) -> None:
    """33 gammas by 4 lambdas, 500 clipped steps, the best of all iterates by worst-group accuracy."""
    features, y, g = footwear(1199 if at_full_size else 60)
    order = np.random.default_rng(0).permutation(len(y))
    half = len(y) // 3
    fit, seen = np.sort(order[:half]), order[half : 2 * half]
    erm = solve(features[seen], y[seen], 2, [Problem(l2=0.1)])[0]
    center = Head(weight=erm.weight, bias=erm.bias)
    logits = features[fit] @ center.weight.T + center.bias
    p = 1 / (1 + np.exp(-(2 * y[fit] - 1) * (logits[:, 1] - logits[:, 0])))
    problems = [
        Problem(
            weight=np.exp(-gamma * p) / np.bincount(y[fit])[y[fit]],
            l2=2 * penalty,
            center=center,
            intercept=Intercept.PENALIZED,
        )
        for gamma in np.linspace(4, 20, 33)
        for penalty in (0, 0.1, 0.2, 0.3)
    ]
    one = PathSettings(learning_rate=0.01, steps=500 if at_full_size else 5, clip_norm=1.0, keep=Keep.BEST)
    watch = HeadScorer(features[seen], y[seen], g[seen], 2, 4).watch(SelectionMetric.WORST_GROUP)

    def follow(some):
        return descend(features[fit], y[fit], 2, some, [one] * len(some), watch=watch)

    sample = problems[:: len(problems) // 10]
    alone = float(np.median([seconds(lambda problem=problem: follow([problem])) for problem in sample])) * len(problems)
    batched = seconds(lambda: follow(problems))
    print(
        f"\nAFR's 132 settings, {one.steps} steps on {fit.size} x 1280: one by one {alone:.2f} s (median of "
        f"{len(sample)} times 132), together {batched:.2f} s: {alone / batched:.1f} x (15 x asked for)"
    )
