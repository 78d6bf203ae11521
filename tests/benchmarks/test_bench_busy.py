"""Served answers beside scikit-learn's on a machine that is theirs, and beside two busy processes.

Whoever asks sets no numbers of threads, on either side. Sides take turns, medians are compared, and the load of the
machine is printed: others' work slows both sides down, but not alike.
"""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from turns import seconds, seconds_in_turns
from workloads import CS, balanced, correlated, footwear

import penult
from penult_kernels.refit_engine import Problem, Scaler, Standardize, solve
from penult_server.compute_environment import BLAS_THREADS

DRAWS = 20
REPLICATES = 200
ROWS_PER_FIT = 4
"""Sets of rows of a pair that a replicate decomposes: two bootstraps and two of a permutation."""


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Processes that compute for as long as the block runs.

    Each has a session of its own, as the server has: Linux shares the cores out by session first.
    """
    with ExitStack() as stack:
        for _ in range(count):
            process = subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[penult.Client]:
    """Of a server that was told nothing about threads."""
    for name in BLAS_THREADS:
        monkeypatch.delenv(name, raising=False)
    with penult.local(tmp_path / "store") as found:
        yield found


def compared(
    what: str, ours: Callable[[int], object], theirs: Callable[[], object], rounds: int, *, times: int = 1
) -> dict[str, float]:
    """How many times as fast the service is as `times` their work, without and beside two busy processes.

    `ours` gets another number in every turn, by which to ask for what is not stored.
    """
    ratios: dict[str, float] = {}
    ours(0)
    turn = iter(range(1, 1000))
    for state, count in (("alone", 0), ("beside two", 2)):
        with busy_processes(count):
            sides = seconds_in_turns(lambda: ours(next(turn)), theirs, rounds=rounds)
        served, alone = median(sides[0]), times * median(sides[1])
        ratios[state] = alone / served
        print(
            f"\n{what}, {state}: served {served:.2f} s, scikit-learn {alone:.2f} s: {ratios[state]:.1f} x; load "
            f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        )
    return ratios


def test_dfr(client: penult.Client, at_full_size: bool) -> None:
    """Seven penalties on one half and twenty draws of all rows, beside liblinear's."""
    features, y, g = footwear(1199 if at_full_size else 60)
    mine = client.features.upload(features=features, y=y, a=g % 2)
    rng = np.random.default_rng(0)
    half = balanced(rng.permutation(len(y))[len(y) // 2 :], g, rng)
    draws = [balanced(np.arange(len(y)), g, rng) for _ in range(DRAWS if at_full_size else 1)]

    def reference() -> None:
        z = StandardScaler().fit_transform(features)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for rows, c in [(half, c) for c in CS] + [(rows, 0.1) for rows in draws]:
                LogisticRegression(penalty="l1", l1_ratio=1.0, C=c, solver="liblinear").fit(z[rows], y[rows])

    ratios = compared(
        f"DFR, {len(y)} x 1280",
        lambda turn: client.refit(mine, preset="dfr", seed=turn),
        reference,
        9 if at_full_size else 1,
    )
    if at_full_size:
        assert min(ratios.values()) >= 1


def test_penalty_path(client: penult.Client, at_full_size: bool) -> None:
    """45 penalties together, beside lbfgs from the strongest down, each from the last one's optimum."""
    z, y = correlated(10_000, 1199) if at_full_size else correlated(400, 60)
    penalties = np.logspace(0, -5, 45) if at_full_size else np.logspace(0, -1, 3)
    mine = client.features.upload(features=z, y=y)

    def ours(turn: int) -> None:
        requests = [{"features": mine, "l2": float(l2) * (1 + 1e-6 * turn)} for l2 in penalties]
        answers = client.refits(requests)
        assert not any(isinstance(one, Exception) or one.reused for one in answers)

    def reference() -> None:
        fit = LogisticRegression(max_iter=1000, warm_start=True)
        scaled = StandardScaler().fit_transform(z)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            for l2 in penalties:
                fit.set_params(C=2 / (l2 * len(y))).fit(scaled, y)

    ratios = compared(f"{len(penalties)} penalties, {len(y)} x 1280", ours, reference, 3 if at_full_size else 1)
    if at_full_size:
        assert min(ratios.values()) >= 1


def test_spectra_with_replicates(client: penult.Client, at_full_size: bool) -> None:
    """Spectra of four groups with intervals and p-values, beside a PCA of each resampled set of rows."""
    sizes, d = ((3498, 184, 56, 1057), 1280) if at_full_size else ((40, 12, 9, 30), 24)
    rng = np.random.default_rng(0)
    scale = np.arange(1, d + 1) ** -0.5
    features = (rng.standard_normal((sum(sizes), d)) * scale + 1).astype(np.float32)
    g = np.repeat(np.arange(4), sizes)
    mine = client.features.upload(features=features, y=g // 2, a=g % 2)

    def one_replicate() -> None:
        """Of both classes; the sets have the sizes of the groups."""
        for group in range(4):
            for _ in range(ROWS_PER_FIT // 2):
                PCA(1, svd_solver="covariance_eigh").fit(features[g == group])

    ratios = compared(
        f"spectra of {sum(sizes)} x {d}, {REPLICATES} replicates (scikit-learn: of one, scaled)",
        lambda turn: client.spectra(mine, top_k=min(50, d), replicates=REPLICATES, seed=turn),
        one_replicate,
        3 if at_full_size else 1,
        times=REPLICATES,
    )
    if at_full_size:
        assert min(ratios.values()) >= 1


def test_dfr_beside_its_kernels(client: penult.Client, at_full_size: bool) -> None:
    """The first answer of the service beside solves of as many problems by a process that does nothing else."""
    features, y, g = footwear(1199 if at_full_size else 60)
    mine = client.features.upload(features=features, y=y, a=g % 2)
    client.refit(mine, preset="dfr", seed=1000)
    scaler = Scaler(mean=features.mean(axis=0, dtype=np.float64), scale=features.std(axis=0, dtype=np.float64))
    scaler.scale[scaler.scale == 0] = 1.0

    def kernels(turn: int) -> None:
        rng = np.random.default_rng(turn)
        half = balanced(rng.permutation(len(y))[len(y) // 2 :], g, rng)
        draws = [balanced(np.arange(len(y)), g, rng) for _ in range(DRAWS)]
        tuned = [Problem(rows=half, l1=1 / (c * half.size), standardize=Standardize.ROWS) for c in CS]
        final = [Problem(rows=rows, l1=1 / (chosen[turn] * rows.size), standardize=scaler) for rows in draws]
        for problems in (tuned, final):
            solve(features, y, 2, problems, tolerance=1e-6)

    served: list[float] = []
    bare: list[float] = []
    chosen: list[float] = []

    def service(turn: int) -> None:
        answer = client.refit(mine, preset="dfr", seed=turn)
        assert answer.selection is not None
        assert not answer.reused
        chosen.append(1 / answer.selection.chosen.values["l1"])

    with threadpool_limits(1):
        for turn in range(25 if at_full_size else 1):
            served.append(seconds(partial(service, turn)))
            bare.append(seconds(partial(kernels, turn)))
    ratio = median(served) / median(bare)
    print(
        f"\nDFR, {len(y)} x 1280, 27 fits: served {median(served) * 1e3:.0f} ms (least {min(served) * 1e3:.0f}), "
        f"kernels {median(bare) * 1e3:.0f} ms (least {min(bare) * 1e3:.0f}): {ratio:.2f} x; "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    if at_full_size:
        assert ratio <= 1.3
