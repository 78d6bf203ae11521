"""Rows of refits that are worth measuring on a quiet machine only, in less than four minutes, by the clock.

    python tests/benchmarks/quiet_rows.py [--small]

Prints 32 clients at once beside one after another (features like real ones, noise), 140 L2 refits and a path of 45
penalties beside scikit-learn's lbfgs. The tests of the same names hold bounds and take longer.
"""

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from sklearn.linear_model import LogisticRegression
from test_bench_refit_service import N_CLIENTS, at_once, one_after_another, rows_like_real_ones, rows_of_noise
from threadpoolctl import threadpool_limits
from turns import seconds
from worker_threads import as_the_worker_computes
from workloads import CS, balanced, correlated, footwear

import penult
from penult_kernels.linear.solve import Link, Problem, solve


def many_clients(name: str, rows: tuple[np.ndarray, np.ndarray, np.ndarray], turns: int) -> None:
    """Each client asks for a penalty of its own."""
    features, y, a = rows
    penalties = np.logspace(-4, -1, N_CLIENTS)
    with tempfile.TemporaryDirectory() as folder, penult.local(Path(folder) / "store") as client:
        mine = client.features.upload(features=features, y=y, a=a)
        clients = [penult.local(Path(folder) / "store") for _ in range(N_CLIENTS)]
        client.refit(mine, l2=1.0)

        def ask(turn: int, own: penult.Client, place: int) -> penult.Refit:
            return own.refit(mine, l2=float(penalties[place]) * (1 + 1e-6 * turn))

        taken = [
            (one_after_another(clients, partial(ask, 2 * turn)), at_once(clients, partial(ask, 2 * turn + 1)))
            for turn in range(turns)
        ]
        for own in clients:
            own.close()
    alone, together = (median(side) for side in zip(*taken, strict=True))
    print(f"{N_CLIENTS} clients, {name}: {alone:.2f} s, at once {together:.2f} s: {alone / together:.1f} x", flush=True)


def beside_lbfgs(name: str, together: Callable[[], object], alone: float) -> None:
    """Median of three, as the worker computes."""
    with as_the_worker_computes():
        solve_seconds = median(seconds(together) for _ in range(3))
    print(f"{name}: lbfgs {alone:.2f} s, together {solve_seconds:.2f} s: {alone / solve_seconds:.1f} x", flush=True)


def refits(n: int) -> None:
    """140 L2 refits: twenty balanced subsets by seven penalties; lbfgs on one thread, the median of 14 times 140."""
    features, y, g = footwear(n)
    rng = np.random.default_rng(0)
    draws = [balanced(np.arange(len(y)), g, rng) for _ in range(20)]
    scale = features.std(axis=0, dtype=np.float64)
    z = ((features - features.mean(axis=0, dtype=np.float64)) / np.where(scale == 0, 1.0, scale)).astype(np.float32)
    asked = [(rows, c) for rows in draws for c in CS]
    problems = [Problem(rows=rows, l2=1 / (c * rows.size), link=Link.OVR) for rows, c in asked]
    with threadpool_limits(1):
        lone = [seconds(lambda: LogisticRegression(C=c, max_iter=1000).fit(z[r], y[r])) for r, c in asked[::10]]  # noqa: B023
    beside_lbfgs("140 L2 refits", lambda: solve(z, y, 2, problems, tolerance=1e-7), 140 * median(lone))


def path(n: int, n_real: int) -> None:
    """45 penalties over many rows; lbfgs once, from the strongest down."""
    z, y = correlated(n, n_real)
    penalties = np.logspace(1, -7, 45) if n > 1_000 else np.logspace(1, -1, 5)
    fit = LogisticRegression(max_iter=1000, warm_start=True)
    # On few rows the two copies of OpenBLAS wait for each other.
    with threadpool_limits(1 if n <= 1_000 else None):
        alone = seconds(lambda: [fit.set_params(C=1 / (l2 * n)).fit(z, y) for l2 in penalties])
    problems = [Problem(l2=float(l2), link=Link.OVR) for l2 in penalties]
    beside_lbfgs(f"{len(penalties)} penalties of {n} x 1280", lambda: solve(z, y, 2, problems, tolerance=1e-8), alone)


if __name__ == "__main__":
    small = "--small" in sys.argv
    rng = np.random.default_rng(0)
    n, n_real = (300, 60) if small else (20_000, 1199)
    many_clients("like real ones", rows_like_real_ones(n, n_real, rng), 1 if small else 3)
    many_clients("noise", rows_of_noise(n, 16 if small else 1280, rng), 1 if small else 3)
    refits(n_real)
    path(400 if small else 60_000, n_real)
