"""GEORGE's first stage beside the same steps as SpuCo writes them: scikit-learn's, with every silhouette by itself."""

import os
from collections.abc import Generator
from statistics import median

import numpy as np
import pytest
from numpy.typing import NDArray
from planted_rows import LABELS, question
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, silhouette_samples
from threadpoolctl import threadpool_limits
from turns import seconds_in_turns

from penult_kernels.products import spread_over
from penult_server.compute.groupings.found import Found, Inputs, Rows
from penult_server.compute.groupings.methods.clustering.tables import FINDERS

MAX_K, STARTS, FACTOR = 10, 3, 5
SHARES = (0.55, 0.25, 0.15, 0.05)


def one_class(n: int, d: int) -> Rows:
    """Rows of one class in four clusters, with a decaying spectrum and a mean away from zero."""
    rng = np.random.default_rng(0)
    scale = np.arange(1, d + 1) ** -0.5
    a = rng.choice(4, n, p=SHARES)
    x = rng.standard_normal((n, d)) * scale + 1.0
    x[:, :2] += np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])[a]
    margin = rng.standard_normal(n) + np.where(a == 3, -2.0, 2.0)
    return Rows(
        features=x.astype(np.float32),
        y=np.zeros(n, np.int64),
        a=a,
        row_id=np.arange(n, dtype=np.uint64),
        logits=np.stack([margin, -margin], axis=1),
        labels=LABELS,
    )


def by_cluster(values: NDArray[np.floating], labels: NDArray[np.int64]) -> list[float]:
    return [float(values[labels == label].mean()) for label in np.unique(labels)]


def as_spuco_writes_it(points: NDArray[np.floating]) -> NDArray[np.int64]:
    """Its steps without the labels that they end in: clusters of the best k, and what their parts are judged by."""
    best, score = np.zeros(len(points), np.int64), -2.0
    for k in range(2, MAX_K + 1):
        labels = KMeans(k, n_init=STARTS, random_state=0).fit_predict(points)
        found = float(np.mean(by_cluster(silhouette_samples(points, labels), labels)))
        if found >= score:
            best, score = labels, found
    parts = np.zeros(len(points), np.int64)
    for cluster in np.unique(best):
        mine = best == cluster
        parts[mine] = KMeans(FACTOR, n_init=STARTS, random_state=0).fit_predict(points[mine]) + FACTOR * cluster
    by_cluster(silhouette_samples(points, best), parts)
    by_cluster(silhouette_samples(points, parts), parts)
    return best


@pytest.fixture
def spread() -> Generator[None]:
    """Products on as many threads as there are processors, as in the compute worker."""
    spread_over(os.cpu_count() or 1)
    yield
    spread_over(0)


def as_served(question_of: Inputs) -> Found:
    """With one thread of the BLAS, as in the compute worker."""
    with threadpool_limits(1, "blas"):
        return FINDERS["george"](question_of)


@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("spread")
def test_george_beside_scikit_learn(at_full_size: bool) -> None:
    n, d, rounds = (5000, 512, 3) if at_full_size else (300, 16, 1)
    rows = one_class(n, d)
    reduced, unreduced = question("george", rows), question("george", rows, words={"reduction": "none"})
    sides = seconds_in_turns(
        lambda: as_served(reduced),
        lambda: as_served(unreduced),
        lambda: as_spuco_writes_it(PCA(2).fit_transform(rows.features)),
        lambda: as_spuco_writes_it(rows.features),
        rounds=rounds,
    )
    ours, ours_whole, theirs, theirs_whole = map(median, sides)
    assert adjusted_rand_score(rows.a, as_served(reduced).value) > 0.95
    assert adjusted_rand_score(rows.a, as_spuco_writes_it(PCA(2).fit_transform(rows.features))) > 0.95
    print(
        f"\nGEORGE's stage, {n} x {d}, k = 2 ... {MAX_K} with silhouettes, and parts: {ours:.2f} s along two principal "
        f"axes, {ours_whole:.2f} s in all features; scikit-learn's steps on the features {theirs_whole:.1f} s, "
        f"{theirs_whole / ours:.0f} x and {theirs_whole / ours_whole:.1f} x; on two principal axes {theirs:.2f} s, "
        f"{theirs / ours:.1f} x"
    )
    if at_full_size:
        assert theirs_whole / ours >= 20
