"""How upload, spectra and refits grow with the rows, and what the compute worker has in memory meanwhile.

    python tests/benchmarks/growth_table.py ROOT [--columns 64] [--rows 10000 100000 ...] [--kinds upload erm ...]
        [--resident-bytes N]

Rows like real features: eigenvalues that fall as 1 / rank, two classes, and an attribute that differs from the class in
5 % of the rows. For each number of rows a worker of its own for every kind of query; seconds, the most that the worker
had in memory above what it has at rest, as a multiple of the rows, and the exponent of the seconds since the row above.
With --resident-bytes below the rows nothing is kept in memory: what streams is shown, and what is refused.
"""

import argparse
import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from worker_memory import fresh_worker, peak_bytes, resident_bytes, worker_of

import penult

BLOCK = 2**16
KINDS: dict[str, Callable[[penult.Client, penult.FeatureSet], object]] = {
    "spectra": lambda client, mine: client.spectra(mine, replicates=0),
    "imbalance": lambda client, mine: client.spectra(mine),
    "replicates": lambda client, mine: client.spectra(mine, replicates=200),
    "erm": lambda client, mine: client.refit(mine, preset="erm"),
    "dfr": lambda client, mine: client.refit(mine, preset="dfr"),
    "dfr_l2": lambda client, mine: client.refit(mine, preset="dfr_l2"),
    "evaluate": lambda client, mine: client.evaluate(a_head(mine), mine),
    "map": lambda client, mine: client.map(mine),
}


def features_file(path: Path, n: int, d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (N, D) in a file, y and a; of a smaller N the same first rows."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((d, d)))[0].astype(np.float32)
    turn *= (1 / np.sqrt(1 + np.arange(d, dtype=np.float32)))[:, None]
    of_class, of_value = (0.5 * rng.standard_normal(d, dtype=np.float32) / np.sqrt(d) for _ in range(2))
    x = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, d))
    y, a = np.empty(n, np.int64), np.empty(n, np.int64)
    for number, first in enumerate(range(0, n, BLOCK)):
        rng, part = np.random.default_rng([0, number]), slice(first, min(first + BLOCK, n))
        z = rng.standard_normal((BLOCK, d), dtype=np.float32)[: part.stop - first]
        own = rng.integers(0, 2, BLOCK)[: len(z)]
        is_rare = rng.random(BLOCK)[: len(z)] < 0.05
        y[part], a[part] = own, np.where(is_rare, 1 - own, own)
        x[part] = z @ turn + np.outer(2 * y[part] - 1, of_class) + np.outer(2 * a[part] - 1, 2 * of_value) + 0.1
    x.flush()
    return x, y, a


def a_head(mine: penult.FeatureSet) -> penult.Head:
    """Any head."""
    weight = np.random.default_rng(1).standard_normal((2, mine.n_features))
    return penult.Head(weight=weight, bias=np.zeros(2))


@contextmanager
def served(root: Path, *options: str) -> Iterator[tuple[penult.Client, int]]:
    """A client of a server of its own, and the server's process id."""
    serve = [sys.executable, "-m", "penult_server", "serve", "--port", "0", "--root", str(root), *options]
    root.mkdir(parents=True)
    with (root / "server.log").open("wb") as log, subprocess.Popen(serve, stdout=log, stderr=log) as server:
        try:
            while not (root / "server.json").is_file():
                assert server.poll() is None, (root / "server.log").read_text()
                time.sleep(0.1)
            address = json.loads((root / "server.json").read_text())["address"]
            with penult.connect(address) as client:
                worker_of(server.pid)
                yield client, server.pid
        finally:
            server.terminate()


def measured(work: Callable[[], object], server: int, *, fresh: bool) -> tuple[float, int, str]:
    """Seconds, bytes above those at rest, and why it was refused."""
    worker = fresh_worker(server) if fresh else worker_of(server)
    try:
        base, said = at_rest(worker), ""
    except FileNotFoundError:  # a machine that is too busy: it was taken for one that hangs, and replaced
        worker = worker_of(server)
        base, said = at_rest(worker), ""
    started = time.perf_counter()

    def tried() -> None:
        nonlocal said
        try:
            work()
        except penult.PenultError as error:
            said = f"{error.kind}: {error.message}"

    peak = peak_bytes(worker, tried)
    return time.perf_counter() - started, peak - base, said


def at_rest(worker: int) -> int:
    """What a worker has in memory once it has loaded."""
    before, now = -1, resident_bytes(worker)
    while before != now:
        time.sleep(0.5)
        before, now = now, resident_bytes(worker)
    return now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="a directory that does not exist; removed at the end")
    parser.add_argument("--columns", type=int, default=64)
    parser.add_argument("--rows", type=int, nargs="+", default=[10**4, 10**5, 10**6, 10**7])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--resident-bytes", type=int, default=4 * 2**30)
    given = parser.parse_args()
    given.root.mkdir(parents=True)
    before: dict[str, tuple[int, float]] = {}
    try:
        for n in given.rows:
            show(n, given, before)
    finally:
        shutil.rmtree(given.root)


def show(n: int, given: argparse.Namespace, before: dict[str, tuple[int, float]]) -> None:
    """The lines of one number of rows."""
    x, y, a = features_file(given.root / "features.npy", n, given.columns)
    print(f"\n{n:,} x {given.columns}, {x.nbytes / 1e6:,.0f} MB", flush=True)
    with served(given.root / str(n), "--resident-bytes", str(given.resident_bytes)) as (client, server):
        sets: list[penult.FeatureSet] = []
        work = {"upload": lambda: sets.append(client.features.upload(x, y, a))}
        work |= {kind: lambda kind=kind: KINDS[kind](client, sets[0]) for kind in given.kinds}
        for kind, of_kind in work.items():
            taken, above, refused = measured(of_kind, server, fresh=kind != "upload")
            if refused:
                print(f"| {kind:10} | refused: {refused} |", flush=True)
                continue
            grown = ""
            if kind in before:
                rows, seconds = before[kind]
                grown = f"rows^{math.log(taken / seconds) / math.log(n / rows):.2f}"
            before[kind] = (n, taken)
            in_rows = f"{above / 1e6:,.0f} MB, {above / x.nbytes:.2f} x the rows"
            print(f"| {kind:10} | {taken:7.2f} s | {grown:9} | {in_rows} |", flush=True)
    shutil.rmtree(given.root / str(n))


if __name__ == "__main__":
    main()
