"""A list of entries in the place of the real one, with small chunks, and with a process that dies where it is told."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from penult_kernels import budget
from penult_server.jobs.extracting import task

ENTRIES = {"extract_range": "range_entries:run"}
SMALL = {"chunk_bytes": 32 * 64 * 4, "buffer_rows": 7, "range_rows_per_group": 8}
"""32 rows of 64 features a chunk; a range has one chunk of 4 groups."""
CHUNK_BYTES = "PENULT_TESTS_CHUNK_BYTES"
"""Another size of chunks."""
DEATH = "PENULT_TESTS_DIE"
"""Names a file: the process that removes it dies in the midst of its next task."""
HOLD = "PENULT_TESTS_HOLD"
"""Names a folder: tasks say there who does which, and go on once there is a file `go`."""


class Dying:
    """A context whose process ends at the second batch."""

    def __init__(self, context):
        self.threads = context.threads
        self._context = context
        self._n_batches = 0

    def progress(self, done):
        self._context.progress(done)

    def check_cancelled(self):
        self._n_batches += 1
        if self._n_batches == 2:
            os.kill(os.getpid(), signal.SIGKILL)


def run(order, context):
    if context.threads:  # a process of its own
        chunk_bytes = int(os.environ.get(CHUNK_BYTES, SMALL["chunk_bytes"]))
        budget.DEFAULT = replace(budget.DEFAULT, **SMALL | {"chunk_bytes": chunk_bytes})
    try:
        Path(os.environ[DEATH]).unlink()
        context = Dying(context)
    except (KeyError, FileNotFoundError):
        pass
    if HOLD in os.environ:
        hold(Path(os.environ[HOLD]), f"{order['split']}-{order['first']}")
    return task.run(order, context)


def hold(folder, name):
    """Tell the pid of the parent, a node, and wait."""
    (folder / f"{name}-{os.getpid()}").write_text(str(os.getppid()), encoding="utf-8")
    for _ in range(24000):
        if (folder / "go").exists():
            return
        time.sleep(0.01)
    raise TimeoutError(folder)
