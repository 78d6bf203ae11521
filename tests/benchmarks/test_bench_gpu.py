"""What an NVIDIA GPU brings: CuPy beside NumPy on all cores of the same machine, beside bare products by cuBLAS, and
beside torch and cuML on the same device. `device.sh` runs it and makes the table.

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
from device_table import add_row
from stored_rows import stored_features
from workloads import CS, balanced, correlated, footwear

from penult_kernels import budget
from penult_kernels.arrays import to_host
from penult_kernels.groupings.kmeans import kmeans
from penult_kernels.groupings.points import Points
from penult_kernels.linear.solve import Intercept, Link, Problem, solve
from penult_kernels.moments.accumulation import moments_of
from penult_kernels.neighbours.search import nearest
from penult_kernels.neighbours.space import Metric
from penult_kernels.rows import ArrayRows
from penult_kernels.spectra.spectrum import spectrum_from_moments
from penult_kernels.trajectories.descend import descend
from penult_kernels.trajectories.settings import TrajectorySettings
from penult_server.compute.backend import Backend
from penult_server.compute.spectra.streaming import stream_moments
from penult_server.compute.warming import take_larger_steps

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
    add_row(name, host=host, device=device, first=first, beside=f"{host / device:.1f} x")
    return on_host, on_device


@pytest.fixture(autouse=True)
def steps_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps as large as the compute worker takes them on this device."""
    monkeypatch.setattr(budget, "DEVICE", None)
    take_larger_steps(Backend(xc, "cupy", "gpu"))


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
    add_row(
        f"moments of {n} x {d}, resident, 4 groups", device=resident, beside=f"cuBLAS's product {bare * 1e3:.1f} ms"
    )
    beside = f"reading and verifying alone {reading * 1e3:.0f} ms"
    add_row(f"moments of {n} x {d} from the store", host=host, device=streamed, beside=beside)
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


def test_neighbours_by_tiles(at_full_size: bool) -> None:
    """A set's own graph, re-ranked in float64."""
    n, d, k = (20_000, 1280, 64) if at_full_size else (400, 24, 5)
    x = np.random.default_rng(0).standard_normal((n, d)).astype(np.float32)
    held = {np: x, xc: xc.asarray(x)}
    for metric in (Metric.L2, Metric.COSINE):

        def found(xp: Any, metric: Metric = metric) -> Any:
            return nearest(ArrayRows(held[xp]), k, metric)

        ours, theirs = compared(f"graph of {n} x {d}, k = {k}, {metric}", found, 1)
        np.testing.assert_allclose(theirs.distance, ours.distance, rtol=1e-9)


def test_clusters(at_full_size: bool) -> None:
    """k-means as groupings ask for it: every start of every k in step."""
    n, d, most = (20_000, 512, 10) if at_full_size else (300, 8, 3)
    x = np.random.default_rng(0).standard_normal((n, d)).astype(np.float32)
    held = {np: x, xc: xc.asarray(x)}

    def found(xp: Any) -> Any:
        return kmeans(
            Points(rows=held[xp]), range(2, most + 1), rng=np.random.default_rng(0), n_init=3, max_iterations=50
        )

    ours, theirs = compared(f"k-means of {n} x {d}, k = 2 ... {most}, 3 starts", found, 1)
    for one, other in zip(ours, theirs, strict=True):
        assert other.inertia == pytest.approx(one.inertia, rel=1e-3)


def test_torch_on_the_same_device(at_full_size: bool) -> None:
    """The spectra and the L2 path as one writes them with torch."""
    torch = pytest.importorskip("torch")
    n, d, rounds = (60_000, 1280, 3) if at_full_size else (300, 24, 1)
    x, y = correlated(n, 1199) if at_full_size else correlated(400, 60)
    rows, labels = torch.asarray(x, device="cuda"), torch.asarray(y, device="cuda").to(torch.float32)
    held = xc.asarray(x)
    penalties = np.logspace(1, -7, 45)

    def by_lbfgs() -> None:
        weight = torch.zeros(x.shape[1], device="cuda", requires_grad=True)
        bias = torch.zeros((), device="cuda", requires_grad=True)
        for l2 in penalties:
            steps = torch.optim.LBFGS([weight, bias], max_iter=100, tolerance_grad=1e-5, line_search_fn="strong_wolfe")

            def objective(l2: float = float(l2), steps: Any = steps) -> Any:
                steps.zero_grad()
                logits = rows @ weight + bias
                loss = (
                    torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
                    + l2 / 2 * weight.square().sum()
                )
                loss.backward()
                return loss

            steps.step(objective)
        torch.cuda.synchronize()

    problems = [Problem(l2=float(l2), link=Link.OVR) for l2 in penalties]
    _, first, ours = turns(lambda: solve(held, y, 2, problems, tolerance=1e-6), rounds)
    _, _, theirs = turns(by_lbfgs, 1)
    add_row(
        f"L2 path of 45, {x.shape[0]} x {x.shape[1]}",
        device=ours,
        first=first,
        beside=f"torch's LBFGS {theirs * 1e3:.0f} ms",
    )
    product = torch.asarray((x[: 4 * d].T @ x[: 4 * d]).astype(np.float64), device="cuda")
    same = xc.asarray(product.cpu().numpy())
    _, _, theirs = turns(lambda: (torch.linalg.eigvalsh(product), torch.cuda.synchronize()), rounds)
    _, _, ours = turns(lambda: spectrum_from_moments(same, 4 * d), rounds)
    add_row(f"all eigenvalues of {d} x {d}", device=ours, beside=f"torch's eigvalsh {theirs * 1e3:.1f} ms")


def test_cuml_on_the_same_device(at_full_size: bool) -> None:
    """cuML's LogisticRegression over the same penalties."""
    cuml = pytest.importorskip("cuml", reason="cuML is not installed")
    x, y = correlated(60_000, 1199) if at_full_size else correlated(400, 60)
    held, labels = cupy.asarray(x), cupy.asarray(y.astype(np.float32))
    penalties = np.logspace(1, -7, 45)

    def fitted() -> None:
        for l2 in penalties:
            cuml.LogisticRegression(C=1 / (float(l2) * len(x)), tol=1e-4, max_iter=1000).fit(held, labels)

    problems = [Problem(l2=float(l2), link=Link.OVR) for l2 in penalties]
    _, first, ours = turns(lambda: solve(held, y, 2, problems, tolerance=1e-6), 1)
    _, _, theirs = turns(fitted, 1)
    add_row(
        f"L2 path of 45 beside cuML, {x.shape[0]} x {x.shape[1]}",
        device=ours,
        first=first,
        beside=f"cuML {theirs * 1e3:.0f} ms",
    )
