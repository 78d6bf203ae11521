"""What group moments cost: beside one product of the same rows by BLAS, in memory, and during an extraction."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from stored_rows import stored_features
from threadpoolctl import threadpool_limits
from turns import seconds_in_turns

from penult_kernels.moments.partials import Partial, merge_into
from penult_kernels.products import spread_over
from penult_server.compute.backend import Backend
from penult_server.compute.spectra import streaming
from penult_server.compute.spectra.streaming import stream_moments
from penult_server.compute_environment import usable_cores
from penult_server.stores import ranges
from penult_server.stores.reading import StoredFeatures

NUMPY = Backend(np, "numpy", "cpu")
ROUNDS = 7
BOUND = 1.35
WIDTHS = ("float64", "float32")


def as_in_the_worker(work: Callable[[], object]) -> None:
    spread_over(usable_cores())
    with threadpool_limits(1, "blas"):
        work()
    spread_over(0)


def test_streaming_beside_one_syrk(tmp_path: Path, at_full_size: bool) -> None:
    """`a.T @ a` is syrk in NumPy. Our products are float64: the float64 one is their limit, the float32 one is shown.

    With float32 products the work beside them (reading, hashing, gathering, centering) weighs twice as much.
    Ours run as in the compute worker, whose BLAS has one thread; syrk has the threads of its BLAS.
    """
    n, d = (60_000, 1280) if at_full_size else (500, 32)
    stored, features = stored_features(tmp_path, n, d)
    wide = features.astype(np.float64)
    g = stored.read("y") * 2 + stored.read("a")
    works: dict[str, Callable[[], object]] = {
        "reading": lambda: [None for _ in stored.blocks("features")],
        "syrk float32": lambda: features.T @ features,
        "syrk float64": lambda: wide.T @ wide,
        "float32": lambda: as_in_the_worker(lambda: stream_moments(stored, g, 4, NUMPY, products="float32")),
        "float64": lambda: as_in_the_worker(lambda: stream_moments(stored, g, 4, NUMPY)),
    }
    turns = seconds_in_turns(*works.values(), rounds=ROUNDS if at_full_size else 1)
    taken = dict(zip(works, map(median, turns), strict=True))
    print(
        f"\nmoments from the store, {n} x {d}, 4 groups: reading and verifying {taken['reading']:.2f} s, "
        f"syrk {taken['syrk float32']:.2f} s in float32, {taken['syrk float64']:.2f} s in float64"
    )
    for products in ("float64", "float32"):
        ratios = {kind: taken[products] / max(taken["reading"], taken[f"syrk {kind}"]) for kind in WIDTHS}
        print(
            f"  {products} products {taken[products]:.2f} s: {ratios['float64']:.2f} x the float64 syrk, "
            f"{ratios['float32']:.2f} x the float32 syrk (bound {BOUND})"
        )
        assert not at_full_size or products == "float32" or ratios["float64"] <= BOUND
    expected = np.cov(wide[g == 1].T, ddof=0) * np.count_nonzero(g == 1)
    np.testing.assert_allclose(stream_moments(stored, g, 4, NUMPY).m2[1], expected, rtol=1e-9, atol=1e-7)


def test_ranges_beside_one_stream(tmp_path: Path, at_full_size: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Moments merged by range, of which 60,000 rows have 15, beside a single range: processor time, in turns."""
    n, d = (60_000, 1280) if at_full_size else (500, 32)
    stored, _ = stored_features(tmp_path, n, d)
    g = stored.read("y") * 2 + stored.read("a")
    merging: list[float] = []

    def merged(total: Partial, part: Partial) -> None:
        began = time.thread_time()
        merge_into(total, part)
        merging[-1] += time.thread_time() - began

    monkeypatch.setattr(streaming, "merge_into", merged)

    def in_ranges(most: int) -> float:
        monkeypatch.setattr(ranges, "MOST_RANGES", most)
        merging.append(0.0)
        began = time.process_time()
        as_in_the_worker(lambda: stream_moments(stored, g, 4, NUMPY))
        return time.process_time() - began

    most = ranges.MOST_RANGES
    taken = [(in_ranges(1), in_ranges(8), in_ranges(most)) for _ in range(ROUNDS if at_full_size else 1)]
    one, eight, all_of_them = (median(of_round[place] for of_round in taken) for place in range(3))
    share = median(merging[2::3]) / all_of_them
    n_ranges = len(ranges.ranges_of(n, stored.array("features").chunks[0], 4))
    print(
        f"\nmoments of {n} x {d} in 8 and {n_ranges} ranges beside one: {eight / one:.3f} and {all_of_them / one:.3f} "
        f"of its processor time (bound 1.15); merging is {share:.1%} (bound 5 %)"
    )
    assert not at_full_size or (max(eight, all_of_them) <= 1.15 * one and share <= 0.05)


class Repeated:
    """A stored set, read several times over as if it were that much longer."""

    def __init__(self, stored: StoredFeatures, times: int) -> None:
        self.manifest = stored.manifest
        self._stored = stored
        self._times = times

    def array(self, name: str) -> Any:
        return self._stored.array(name)

    def n_blocks(self, name: str) -> int:
        # The last chunk is not full, so only the whole ones are repeated.
        return self._times * (self._stored.n_blocks(name) - 1)

    def new_block(self, name: str) -> Any:
        return self._stored.new_block(name)

    def block(self, name: str, index: int, out: Any) -> Any:
        return self._stored.block(name, index % (self._stored.n_blocks(name) - 1), out)


STREAM = """
import os, runpy, sys
class Without:
    def find_spec(name, path, target=None):
        if name == "cupy":
            raise ModuleNotFoundError(name)
if sys.argv[4] == "without":
    sys.meta_path.insert(0, Without)
sys.path.insert(0, os.path.dirname(sys.argv[5]))
runpy.run_path(sys.argv[5], run_name="__main__")
"""


def peak_bytes(root: Path, digest: str, times: int, cupy: str) -> int:
    """Most memory that a process of its own held while it streamed the set `times` times.

    Zarr imports CuPy where it is installed, which takes more memory than the whole stream; "without" is the
    server without its extra for GPUs.
    """
    command = [sys.executable, "-c", STREAM, str(root), digest, str(times), cupy, __file__]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_memory_does_not_grow_with_the_rows(tmp_path: Path, at_full_size: bool) -> None:
    n, d = (60_000, 1280) if at_full_size else (500, 32)
    stored, _ = stored_features(tmp_path, n, d)
    digest = stored.manifest.digest
    once, ten_times = (peak_bytes(tmp_path, digest, times, "without") for times in (1, 10))
    with_cupy = peak_bytes(tmp_path, digest, 1, "with")
    chunk = stored.array("features").chunks[0] * d * 4
    bound = 4 * d * d * 8 + 2 * chunk + 300e6
    print(
        f"\npeak memory of streaming {n} and {10 * n} rows: {once / 1e6:.0f} and {ten_times / 1e6:.0f} MB "
        f"({ten_times / once - 1:+.1%}, at most 5 %; bound {bound / 1e6:.0f} MB); "
        f"{with_cupy / 1e6:.0f} MB where CuPy is installed"
    )
    assert abs(ten_times / once - 1) <= 0.05
    assert max(once, ten_times) <= bound


if __name__ == "__main__":
    one = StoredFeatures(Path(sys.argv[1]), sys.argv[2])
    step = one.array("features").chunks[0]
    whole = (one.n_blocks("features") - 1) * step
    groups = np.tile((one.read("y") * 2 + one.read("a"))[:whole], int(sys.argv[3]))
    repeated: Any = Repeated(one, int(sys.argv[3]))
    stream_moments(repeated, groups, 4, NUMPY)
    # Not `getrusage`, whose peak is inherited from the process that started this one.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(status["VmHWM"].split()[0]) * 1024)
