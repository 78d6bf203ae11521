"""Questions of large sets through a real server, on a quiet machine: seconds, the worker's processor time, its peak.

    python tests/benchmarks/quiet_sizes.py ROOT [--only tall wide long narrow]

ROOT is a directory that does not exist; it is removed at the end. Some five minutes on two quiet cores, at most 5.2 GB
of disk and 5 GB of memory at a time. The sets, by name:

| name | rows | asked |
|---|---|---|
| tall | 1,000,000 x 256 of `growth_table.py` | upload; `dfr` in 20 s |
| wide | 60,000 x 1,280 with the covariance of real features | upload; `dfr` in 6 s |
| long | 10,000,000 x 64 of `growth_table.py` | upload, interval, erm, evaluation, `dfr`: linear beside `narrow` |
| narrow | 1,000,000 x 64 of `growth_table.py` | the same |

Processor time is of the worker alone. Peaks are above an idle worker, as a multiple of the features; every question
but those of `wide` has a fresh worker, which reads the rows first.
"""

import argparse
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from growth_table import KINDS, at_rest, features_file, served
from worker_memory import fresh_worker, peak_bytes, worker_of

import penult

SETS: dict[str, tuple[int, int, tuple[str, ...]]] = {
    "tall": (10**6, 256, ("dfr",)),
    "wide": (60_000, 1280, ("dfr", "dfr")),
    "narrow": (10**6, 64, ("imbalance", "erm", "evaluate", "dfr")),
    "long": (10**7, 64, ("imbalance", "erm", "evaluate", "dfr")),
}
"""Rows, columns and questions."""
OTHER_VALUE = 0.1
"""Rows of `wide` whose attribute differs from their class."""
LONGEST = 1200.0
"""Seconds that a question may take."""


def rows_of(name: str, path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, classes and attribute of a set."""
    n, d, _ = SETS[name]
    if name != "wide":
        return features_file(path, n, d)
    from workloads import correlated

    x, y = correlated(n, 1199)
    return x, y, np.where(np.random.default_rng(5).random(n) < OTHER_VALUE, 1 - y, y)


def processor_seconds(pid: int) -> float:
    """Of a process so far, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def show(name: str, root: Path) -> None:
    """The lines of one set."""
    root.mkdir(parents=True)
    x, y, a = rows_of(name, root / "features.npy")
    n, d, kinds = SETS[name]
    print(f"\n{name}: {n:,} x {d}, {x.nbytes / 1e6:,.0f} MB, load {os.getloadavg()[0]:.1f}", flush=True)
    with served(root / "store") as (client, server):
        sets: list[penult.FeatureSet] = []

        def upload() -> None:
            sets.append(client.features.upload(x, y, a))

        line("upload", upload, worker_of(server), x.nbytes)
        for number, kind in enumerate(kinds):
            worker = worker_of(server) if name == "wide" else fresh_worker(server)
            line(kind, lambda kind=kind, number=number: ask(kind, client, sets[0], number), worker, x.nbytes)
    shutil.rmtree(root)


def ask(kind: str, client: penult.Client, mine: penult.FeatureSet, seed: int) -> object:
    """Ask one question; refits with a seed, or an equal one would be answered from the store."""
    if kind in ("dfr", "erm"):
        return client.refit(mine, preset=kind, seed=seed, timeout=LONGEST)
    return KINDS[kind](client, mine)


def line(kind: str, work: Callable[[], object], worker: int, n_bytes: int) -> None:
    """Do some work and say what it took."""
    base, used, started = at_rest(worker), processor_seconds(worker), time.perf_counter()
    said = ""

    def tried() -> None:
        nonlocal said
        try:
            work()
        except penult.PenultError as error:
            said = f" {error.kind}: {error.message}"

    peak = peak_bytes(worker, tried)
    seconds, used = time.perf_counter() - started, processor_seconds(worker) - used
    print(f"| {kind:10} | {seconds:7.2f} s | {used:7.2f} s | {(peak - base) / n_bytes:.2f} |{said}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--only", nargs="+", default=list(SETS), choices=list(SETS))
    given = parser.parse_args()
    given.root.mkdir(parents=True)
    try:
        for name in given.only:
            show(name, given.root / name)
    finally:
        shutil.rmtree(given.root)


if __name__ == "__main__":
    main()
