"""What an NVIDIA GPU brings: CuPy beside NumPy on all cores of the same machine, and beside bare products by cuBLAS.

The first round compiles CuPy's kernels where its cache on disk has none, and is shown apart.
"""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import array_api_compat.cupy as xc
import cupy
import numpy as np
import pytest
from stored_rows import stored_features
from workloads import CS, balanced, correlated, footwear

from penult_kernels.arrays import to_host
from penult_kernels.linear.solve import Intercept, Link, Problem, solve
from penult_kernels.moments.accumulation import moments_of
from penult_kernels.spectra.spectrum import spectrum_from_moments
from penult_kernels.trajectories.descend import descend
from penult_kernels.trajectories.settings import TrajectorySettings
from penult_server.compute.backend import Backend
from penult_server.compute.spectra.streaming import stream_moments

ROUNDS = 5
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not cupy.cuda.is_available(), reason="no CUDA device")]


def turns(work: Callable[[], Any], rounds: int) -> tuple[Any, float, float]:
    """What the work found, its first time in seconds, and the median of the others."""
    taken: list[float] = []
    for _ in range(rounds + 1):
        cupy.cuda.Device().synchronize()
        started = time.perf_counter()
        found = work()
        cupy.cuda.Device().synchronize()
        taken.append(time.perf_counter() - started)
    return found, taken[0], median(taken[1:])


def compared(name: str, work: Callable[[Any], Any], rounds: int) -> tuple[Any, Any]:
    """The answers of `work` on NumPy and on CuPy; prints what each took."""
    on_host, _, host = turns(lambda: work(np), rounds)
    on_device, first, device = turns(lambda: work(xc), rounds)
    print(
        f"\n{name}: NumPy {host * 1e3:.1f} ms, CuPy {device * 1e3:.1f} ms ({host / device:.1f} x; "
        f"first time {first:.2f} s)"
    )
    return on_host, on_device


def test_moments_beside_bare_products(tmp_path: Path, at_full_size: bool) -> None:
    """Float64 products of rows that are on the device, and the same from the store, verified."""
    n, d = (60_000, 1280) if at_full_size else (600, 32)
    rounds = ROUNDS if at_full_size else 1
    stored, features = stored_features(tmp_path, n, d)
    g = stored.read("y") * 2 + stored.read("a")
    rows = xc.asarray(features)
    wide = xc.astype(rows, xc.float64)
    _, _, bare = turns(lambda: wide.T @ wide, rounds)
    here, _, resident = turns(lambda: moments_of(rows, g, 4), rounds)
    _, _, reading = turns(lambda: [None for _ in stored.blocks("features")], rounds)
    there, _, streamed = turns(lambda: stream_moments(stored, g, 4, Backend(xc, "cupy", "gpu")), rounds)
    with_numpy, _, host = turns(lambda: stream_moments(stored, g, 4, Backend(np, "numpy", "cpu")), rounds)
    print(
        f"\nmoments of {n} x {d}, 4 groups: a bare float64 product by cuBLAS {bare * 1e3:.1f} ms, of resident rows "
        f"{resident * 1e3:.1f} ms ({resident / bare:.2f} x); from the store {streamed * 1e3:.0f} ms, reading and "
        f"verifying alone {reading * 1e3:.0f} ms ({streamed / reading:.2f} x); with NumPy {host * 1e3:.0f} ms"
    )
    for found in (here, there):
        np.testing.assert_allclose(to_host(found.m2), with_numpy.m2, rtol=1e-9, atol=1e-6)


def test_spectra(at_full_size: bool) -> None:
    """All eigenvalues of four groups, and the largest 50 of a wider matrix."""
    rounds = 3 if at_full_size else 1
    rng = np.random.default_rng(0)
    for d, top_k in ((2048, 2048), (8192, 50)) if at_full_size else ((48, 48), (96, 5)):
        n_groups = 4 if top_k == d else 1
        rows = (rng.standard_normal((n_groups * d, d)) * np.arange(1, d + 1.0) ** -0.5).astype(np.float32)
        m2 = moments_of(rows, np.arange(n_groups * d) % n_groups, n_groups).m2
        held = {np: m2, xc: xc.asarray(m2)}

        def values(xp: Any, held=held, top_k=top_k, d=d) -> list[Any]:
            return [spectrum_from_moments(one, d, top_k=top_k).eigenvalues for one in held[xp]]

        ours, theirs = compared(f"{top_k} eigenvalues of {n_groups} x {d} x {d}", values, rounds)
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(to_host(other), one, rtol=1e-8, atol=1e-12 * float(one[0]))


def test_refits_to_the_optimum(at_full_size: bool) -> None:
    """The workloads of `test_bench_refits`, solved on either."""
    features, y, g = footwear(1199 if at_full_size else 60)
    rng = np.random.default_rng(0)
    draws = [balanced(np.arange(len(y)), g, rng) for _ in range(20 if at_full_size else 2)]
    scale = features.std(axis=0)
    z = ((features - features.mean(axis=0)) / np.where(scale > 0, scale, 1)).astype(np.float32)
    many, many_y = correlated(60_000, 1199) if at_full_size else correlated(400, 60)
    some = z[:, ::8]
    asked: dict[str, tuple[Any, Any, int, list[Problem], float]] = {
        f"{7 * len(draws)} L2 refits": (
            z, y, 2, [Problem(rows=rows, l2=1 / (c * rows.size), link=Link.OVR) for rows in draws for c in CS], 1e-7,
        ),
        f"{len(draws)} L1 refits": (
            z, y, 2,
            [
                Problem(rows=rows, l1=10 / rows.size, link=Link.OVR, intercept=Intercept.PENALIZED)
                for rows in draws
            ],
            1e-6,
        ),
        "an L1 path of 7": (
            z, y, 2,
            [
                Problem(rows=draws[0], l1=1 / (c * draws[0].size), link=Link.OVR, intercept=Intercept.PENALIZED)
                for c in CS
            ],
            1e-6,
        ),
        f"{len(draws)} softmax L1 refits of 4 classes": (
            some, g, 4, [Problem(rows=rows, l1=0.01) for rows in draws], 1e-5,
        ),
        "an L2 path of 45 over many rows": (
            many, many_y, 2, [Problem(l2=float(l2), link=Link.OVR) for l2 in np.logspace(1, -7, 45)], 1e-8,
        ),
    }  # fmt: skip
    for name, (rows, labels, n_classes, problems, tolerance) in asked.items():
        held = {np: rows, xc: xc.asarray(rows)}

        def fitted(xp: Any, held=held, labels=labels, n=n_classes, problems=problems, tolerance=tolerance) -> Any:
            return solve(held[xp], labels, n, problems, tolerance=tolerance)

        ours, theirs = compared(f"{name}, {rows.shape[0]} x {rows.shape[1]}", fitted, 3 if at_full_size else 1)
        for one, other in zip(ours, theirs, strict=True):
            assert one.certificate.converged
            assert other.certificate.converged
            apart = abs(one.certificate.objective - other.certificate.objective)
            assert apart <= one.certificate.gap + other.certificate.gap + 1e-9


def test_refits_stopped_early(at_full_size: bool) -> None:
    """AFR's 132 settings, as far as its 500 steps go."""
    features, y, _ = footwear(1199 if at_full_size else 60)
    problems = [
        Problem(weight=np.exp(-gamma * np.linspace(0, 1, len(y))) / len(y), l2=2 * penalty)
        for gamma in np.linspace(4, 20, 33)
        for penalty in (0, 0.1, 0.2, 0.3)
    ]
    one = TrajectorySettings(learning_rate=0.01, steps=500 if at_full_size else 5, clip_norm=1.0)
    held = {np: features, xc: xc.asarray(features)}

    def followed(xp: Any) -> Any:
        return descend(held[xp], y, 2, problems, [one] * len(problems))

    ours, theirs = compared(f"132 paths of {one.steps} steps", followed, 3 if at_full_size else 1)
    for path, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(to_host(other.weight), path.weight, rtol=1e-2, atol=1e-4)
