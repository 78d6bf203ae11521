"""A device made ready: steps of its size, and kernels compiled before a query needs them.

On a machine whose cache of kernels is empty the first query would wait half a minute. CuPy compiles a kernel when it is
first used and keeps it on disk, for every process. So a process of the lowest priority asks small questions of each
kind once, after which the compute worker finds in the cache what it needs. It is not a thread of the worker: queries
would wait for a thread of low priority that holds Python's lock or launches something. It ends with the worker, which
holds its input. Whatever fails in it is a line in the log, and nothing else.
"""

import fcntl
import hashlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from penult_kernels import budget
from penult_kernels.groupings.kmeans import kmeans
from penult_kernels.groupings.points import Points
from penult_kernels.linear.solve import Link, Problem, Standardize, solve
from penult_kernels.metrics.accuracy import group_metrics
from penult_kernels.metrics.head_scores import logits_of_heads
from penult_kernels.moments.accumulation import MomentAccumulator, moments_of
from penult_kernels.neighbours.search import nearest
from penult_kernels.neighbours.space import Metric
from penult_kernels.rows import ArrayRows
from penult_kernels.spectra.inference import infer_imbalance
from penult_kernels.spectra.spectrum import spectrum_from_moments, spectrum_from_rows
from penult_kernels.trajectories.descend import descend
from penult_kernels.trajectories.settings import TrajectorySettings
from penult_server.compute.backend import Backend, choose_backend
from penult_server.compute.rows.device_rows import OWN_SOURCES, CudaCenter

COMMAND = (sys.executable, "-m", "penult_server.compute.warming")
NICENESS = 19
log = logging.getLogger("penult.compute")


def questions(backend: Backend) -> dict[str, Callable[[], object]]:
    """Name -> a small question of every kind that a device answers, and every kernel of our own."""
    rng = np.random.default_rng(0)
    g = np.arange(160) % 4
    few = backend.to_device((rng.standard_normal((160, 96)) + g[:, None] % 2).astype(np.float32))
    many = backend.to_device((rng.standard_normal((3000, 24))).astype(np.float32))
    many_g = np.arange(3000) % 4
    y, many_y = g // 2, many_g // 2
    draws = [np.flatnonzero(np.arange(160) % 5 != k) for k in range(2)]
    by_group = [few[:60, :], few[60:, :]]
    sums = moments_of(many, many_g, 4)
    head = solve(few, y, 2, [Problem(l2=0.1)])[0]
    on_host = type(head)(
        weight=backend.to_host(head.weight), bias=backend.to_host(head.bias), certificate=head.certificate
    )
    asked: dict[str, Callable[[], object]] = {
        "moments": lambda: moments_of(many, many_g, 4, np.linspace(0, 1, 3000)),
        "spectra": lambda: [
            spectrum_from_moments(sums.m2[0, :, :], 750, mean=sums.mean[0, :], vectors=v) for v in (False, True)
        ],
        "spectra of rows": lambda: [spectrum_from_rows(few, top_k=5, vectors=v) for v in (False, True)],
        "imbalance": lambda: infer_imbalance(*by_group, replicates=2),
        "L2 refits": lambda: solve(
            few, y, 2, [Problem(rows=own, l2=l2, link=Link.OVR) for own in draws for l2 in (0.1, 1.0)]
        ),
        "standardised L2 refits": lambda: solve(
            few, y, 2, [Problem(rows=own, l2=0.1, standardize=Standardize.ROWS) for own in draws]
        ),
        "L2 path": lambda: solve(
            many, many_y, 2, [Problem(l2=l2, link=Link.OVR) for l2 in (1.0, 1e-3)], tolerance=1e-6
        ),
        "softmax": lambda: solve(many, many_g, 4, [Problem(l2=0.01)]),
        "trajectories": lambda: descend(
            few, y, 2, [Problem(l2=0.1)], [TrajectorySettings(learning_rate=0.01, steps=2, clip_norm=1.0)]
        ),
        "metrics": lambda: group_metrics(logits_of_heads(few, [on_host])[0], y, g, 4),
        "neighbours": lambda: [nearest(ArrayRows(few), 3, metric) for metric in (Metric.L2, Metric.COSINE)],
        "k-means": lambda: kmeans(Points(rows=few), (2,), rng=np.random.default_rng(0), n_init=2, max_iterations=3),
    }
    return asked | {f"source {name}": lambda name=name: own_kernel(name, backend) for name in OWN_SOURCES}


def take_larger_steps(backend: Backend) -> None:
    """From now on take steps of the size that suits the memory of the device, for arrays there."""
    if backend.name == "cupy":
        budget.DEVICE = budget.on_device(int(backend.xp.cuda.runtime.memGetInfo()[1]))


def own_kernel(name: str, backend: Backend) -> None:
    """Compile a source of our own and run it."""
    {"center_rows": _centered}[name](backend)


def _centered(backend: Backend) -> None:
    for dtype in (np.float32, np.float64):
        rows = backend.to_device(np.ones((64, 8), dtype))
        sums = MomentAccumulator(1, 8, dtype=rows.dtype, xp=backend.xp, center=CudaCenter(backend))
        sums.add(rows, np.zeros(64, np.int64))
        sums.finish()


def ask_all(backend: Backend) -> list[str]:
    """Ask every question; the names of those that failed."""
    failed: list[str] = []
    for name, ask in questions(backend).items():
        try:
            ask()
        except Exception as error:  # Nothing depends on it.
            log.warning("kernels of %s are not compiled ahead: %s: %s", name, type(error).__name__, error)
            failed.append(name)
    return failed


def cache_folder() -> Path:
    """Where CuPy keeps what it has compiled."""
    return Path(os.environ.get("CUPY_CACHE_DIR") or Path("~/.cupy/kernel_cache").expanduser())


def mark(backend: Backend) -> Path:
    """The file that says that the cache has the kernels of these versions for this device."""
    sources = [Path(__file__), *sorted(Path(str(budget.__file__)).parent.rglob("*.py"))]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources))
    digest.update(f"{getattr(backend.xp, '__version__', '')} {backend.device}".encode())
    return cache_folder() / f"penult-{digest.hexdigest()[:16]}.warm"


def start(backend: Backend) -> "subprocess.Popen[bytes] | None":
    """Start the process if this device's cache lacks kernels; None where there is nothing to do, or it cannot start."""
    if backend.name != "cupy":
        return None
    try:
        if mark(backend).exists():
            return None
        # Its input is a pipe that only we hold: it ends when we do.
        process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    except OSError as error:
        log.warning("kernels are not compiled ahead: %s", error)
        return None
    # So that nothing is left of it in the table of processes.
    threading.Thread(target=process.wait, daemon=True).start()
    return process


def main() -> None:
    """Ask every question once, as a process of the lowest priority that ends with whoever started it."""
    os.nice(NICENESS)
    threading.Thread(target=_end_with_input, daemon=True).start()
    warm(choose_backend("cuda"))


def warm(backend: Backend) -> bool:
    """Compile what the cache lacks, unless another compute worker with such a device does; whether it was done here."""
    place = mark(backend)
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if not ask_all(backend):
            place.touch()
        return True


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
