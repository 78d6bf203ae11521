"""One request of many diagnostics beside a chain of what people run for each, and its memory beside n x n kernels."""

import tracemalloc
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from turns import processor_seconds_in_turns

from penult_kernels.diagnostics.planner import Settings, diagnose
from penult_kernels.diagnostics.subject import Subject
from penult_kernels.linear.problem import Head
from penult_kernels.rows import ArrayRows

Floats = NDArray[np.float64]
IDS = ("nc", "cka_debiased", "rank_me", "effective_rank", "participation_ratio", "gradient_coherence", "decodability")


def subject_of(n: int, d: int) -> Subject:
    """Two classes on two grounds, float32, a head, and other features of the same rows."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    a = np.where(rng.random(n) < 0.85, y, 1 - y)
    x = rng.standard_normal((n, d)) / np.sqrt(np.arange(1, d + 1))
    x[:, 0] += y
    x[:, 1] += a
    other = np.tanh(x @ rng.standard_normal((d, d)) / np.sqrt(d))
    return Subject(
        rows=ArrayRows(x.astype(np.float32)),
        part=2 * y + a,
        n_parts=4,
        y=y,
        n_classes=2,
        head=Head(weight=rng.standard_normal((2, d)), bias=np.zeros(2)),
        other=ArrayRows(other.astype(np.float32)),
        columns={"class": (y, 2), "ground": (a, 2)},
    )


def cka_of_kernels(x: Floats, z: Floats) -> float:
    """Debiased CKA by n x n kernels, as libraries write it (Song et al. 2012)."""

    def hsic(k: Floats, m: Floats) -> float:
        n = len(k)
        total = np.sum(k * m) + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 * (k.sum(0) @ m.sum(0)) / (n - 2)
        return float(total / (n * (n - 3)))

    k, m = x @ x.T, z @ z.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def chain(subject: Subject) -> dict[str, Any]:
    """One after the other, each on its own arrays in float64."""
    assert isinstance(subject.rows, ArrayRows)
    assert isinstance(subject.other, ArrayRows)
    assert subject.head is not None
    x, z = subject.rows.features.astype(np.float64), subject.other.features.astype(np.float64)
    part, n = subject.part, len(x)
    means = np.stack([x[part == p].mean(axis=0) for p in range(4)])
    away = x - means[part]
    within = away.T @ away / n
    centered = means - means.mean(axis=0)
    found: dict[str, Any] = {"nc1": float(np.trace(within @ np.linalg.pinv(centered.T @ centered / 4)) / 4)}
    found["cka"] = cka_of_kernels(x, z)
    for p in range(4):
        values = np.linalg.eigvalsh(np.cov(x[part == p].T, ddof=0))
        share = values[values > 0] / values[values > 0].sum()
        singular = np.linalg.svd(x[part == p], compute_uv=False)
        q = singular / singular.sum() + 1e-7
        found[f"rank {p}"] = (np.exp(-(share * np.log(share)).sum()), np.exp(-(q * np.log(q)).sum()))
    logits = x @ subject.head.weight.T
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    e = e / e.sum(axis=1, keepdims=True) - np.eye(2)[subject.y]
    g = (e[:, :, None] * np.concatenate([x, np.ones((n, 1))], axis=1)[:, None, :]).reshape(n, -1)
    found["coherence"] = float((g.mean(axis=0) ** 2).sum() / (g * g).sum(axis=1).mean())
    rng = np.random.default_rng(0)
    for name, (codes, _) in subject.columns.items():
        for labels in (codes, rng.permutation(codes)):
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=2 / (0.01 * n * 2 / 3), max_iter=1000))
            found[name] = float((cross_val_predict(probe, x, labels, cv=3) == labels).mean())
        if name != "class":
            for c in (0, 1):
                inside = subject.y == c
                for labels in (codes[inside], rng.permutation(codes[inside])):
                    probe = make_pipeline(StandardScaler(), LogisticRegression(C=2 / (0.01 * inside.sum() * 2 / 3)))
                    cross_val_predict(probe, x[inside], labels, cv=3)
    return found


def peak(work: Any) -> float:
    """MiB of arrays at most."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def test_one_request_beside_a_chain(at_full_size: bool) -> None:
    n, d = (6000, 512) if at_full_size else (200, 16)
    subject, plain = subject_of(n, d), Settings(replicates=0, matched=0)
    whole = Settings(replicates=200, matched=200)
    with threadpool_limits(1, user_api="blas"):
        values = {(one.id, one.parts): one.value for one in diagnose(subject, IDS, plain)}
        expected = chain(subject)
        np.testing.assert_allclose(values["nc1_pinv", ()], expected["nc1"], rtol=1e-6)
        np.testing.assert_allclose(values["cka_debiased", ()], expected["cka"], rtol=1e-5)
        np.testing.assert_allclose(values["gradient_coherence", ()], expected["coherence"], rtol=1e-6)
        np.testing.assert_allclose(values["effective_rank", (0,)], expected["rank 0"][0], rtol=1e-6)
        np.testing.assert_allclose(values["rank_me", (0,)], expected["rank 0"][1], rtol=1e-4)
        ours, theirs = processor_seconds_in_turns(
            lambda: diagnose(subject, IDS, plain), lambda: chain(subject), rounds=1
        )
        (drawn,) = processor_seconds_in_turns(lambda: diagnose(subject, ["nc"], whole), rounds=1)
        least = peak(lambda: diagnose(subject, ["cka_debiased"], plain))
        x, z = (one.features.astype(np.float64) for one in (subject.rows, subject.other))  # pyright: ignore
        most = peak(lambda: cka_of_kernels(x, z))
    print(
        f"\n{len(IDS)} families of {n} x {d}, seconds of processor: {ours[0]:.1f} in one, {theirs[0]:.1f} in a "
        f"chain: {theirs[0] / ours[0]:.1f} x; nc of 400 draws {drawn[0]:.1f}; CKA {least:.0f} MiB, {most:.0f} by "
        f"n x n kernels: {most / least:.0f} x"
    )


def test_dimensions_of_stored_neighbours_beside_a_search(at_full_size: bool) -> None:
    """What a search takes is left out where the graph is stored."""
    n, d, k = (6000, 256, 20) if at_full_size else (200, 8, 5)
    x = np.random.default_rng(0).standard_normal((n, d))
    search = NearestNeighbors(n_neighbors=k + 1).fit(x)
    apart = search.kneighbors(x)[0][:, 1:]
    part = np.zeros(n, np.int64)
    subject = Subject(
        rows=ArrayRows(x), part=part, n_parts=1, y=part, n_classes=2, neighbours=lambda count: apart[:, :count]
    )
    settings = Settings(replicates=0, matched=0, numbers={"mle_k": k})

    def searched() -> float:
        found = NearestNeighbors(n_neighbors=k + 1).fit(x).kneighbors(x)[0][:, 1:]
        return float(1 / np.mean(np.mean(np.log(found[:, -1:] / found[:, :-1]), axis=1)))

    with threadpool_limits(1, user_api="blas"):
        ours, theirs = processor_seconds_in_turns(
            lambda: diagnose(subject, ["two_nn", "mle_dimension"], settings), searched, rounds=1
        )
    print(f"\ndimensions of {n} x {d}: {ours[0]:.2f} s, {theirs[0]:.2f} with a search: {theirs[0] / ours[0]:.0f} x")
