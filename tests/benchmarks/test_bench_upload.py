"""What an upload with moments costs, beside its parts done one after another, and how much memory it takes."""

import hashlib
import json
import os
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from threadpoolctl import threadpool_limits
from turns import seconds_in_turns
from worker_threads import as_the_worker_computes

import penult
from penult_kernels import budget
from penult_kernels.moments.accumulation import accumulator_bytes

LABEL_BYTES = 24
"""Of y, a and row_id, of a row."""
COPIES = 5
"""Of labels and ids, which are checked as a whole."""
REST = 48e6
FRONT_BYTES = 10e6


def one_after_another(path: Path, features: np.ndarray) -> None:
    """Saved, flushed, hashed, and multiplied in float64, each on all cores that it can use."""
    with path.open("wb") as file:
        np.save(file, features)
        file.flush()
        os.fsync(file.fileno())
    hashlib.sha256(features.data).hexdigest()
    sums = np.zeros((features.shape[1], features.shape[1]))
    for first in range(0, len(features), 1536):
        block = features[first : first + 1536].astype(np.float64)
        sums += block.T @ block


def children(pid: int) -> list[int]:
    return [int(one) for task in Path(f"/proc/{pid}/task").iterdir() for one in (task / "children").read_text().split()]


def memory(pid: int, kind: str) -> int:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status[kind].split()[0]) * 1024


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def processes(root: Path) -> dict[str, int]:
    """Client, front, and the compute worker."""
    front = json.loads((root / "server.json").read_text())["pid"]
    (worker,) = (pid for pid in children(front) if "penult_server.compute" in Path(f"/proc/{pid}/cmdline").read_text())
    return {"client": os.getpid(), "front": front, "worker": worker}


@pytest.mark.parametrize(("n", "d", "rounds"), [(1_000_000, 256, 3), (60_000, 1280, 5)])
def test_upload_beside_its_parts(tmp_path: Path, at_full_size: bool, n: int, d: int, rounds: int) -> None:
    if not at_full_size:
        n, d, rounds = n // 1000, d // 16, 1
    rng = np.random.default_rng(0)
    features = rng.standard_normal((n, d), dtype=np.float32)
    y, a = rng.integers(0, 2, n), rng.integers(0, 2, n)
    with penult.local(tmp_path / "store") as client:
        client.features.upload(features[:100], y[:100], a[:100])
        running = processes(tmp_path / "store")
        before = {name: (memory(pid, "VmRSS"), processor_seconds(pid)) for name, pid in running.items()}
        for pid in running.values():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

        def upload() -> None:
            features[0, 0] += 1  # or the set would be there already
            client.features.upload(features, y, a)

        with threadpool_limits(2 if at_full_size else 1):
            peer, ours = seconds_in_turns(
                lambda: one_after_another(tmp_path / "rows.npy", features), upload, rounds=rounds
            )
        grown = {name: memory(pid, "VmHWM") - before[name][0] for name, pid in running.items()}
        used = {name: (processor_seconds(pid) - before[name][1]) / rounds for name, pid in running.items()}
    chunks = 2 * budget.DEFAULT.chunk_bytes
    with as_the_worker_computes():
        bound = chunks + accumulator_bytes(4, d, 4) + COPIES * LABEL_BYTES * n + REST
    print(
        f"\nupload of {n} x {d} with moments: {features.nbytes / median(ours) / 1e6:.0f} MB/s, "
        f"{median(ours) / median(peer):.2f} x of saving, flushing, hashing and multiplying ({median(peer):.2f} s); "
        f"processor time of front {used['front']:.2f} s, worker {used['worker']:.2f} s; memory grew by "
        + ", ".join(f"{bytes_ / 1e6:.0f} MB ({name})" for name, bytes_ in grown.items())
        + f"; two chunks have {chunks / 1e6:.0f}, the bound of the worker is {bound / 1e6:.0f}"
    )
    assert grown["worker"] <= bound
    # The client is of this machine: no byte of its rows passes through the front.
    assert grown["front"] <= FRONT_BYTES
    assert not at_full_size or used["front"] <= 0.1 * used["worker"]
