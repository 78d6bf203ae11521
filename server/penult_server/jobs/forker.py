"""The process that job workers are forked from.

Frameworks take seconds to load. The forker loads them once, when the first job needs them, and its forks begin with
what it has loaded, in memory that is shared for as long as nobody writes to it.

A fork has one thread, the one that forked, and can use no GPU that its parent has used. So the forker starts no thread
and computes nothing.
"""

import contextlib
import importlib
import logging
import os
import select
import signal
import socket

from penult_server import pipes
from penult_server.machine.loading import without_collections

log = logging.getLogger("penult.jobs")


class Forker:
    """Forks a worker each time the front asks for one, and tells it how each ended."""

    def __init__(self, front: socket.socket) -> None:
        self._front = front
        self._news: dict[int, socket.socket] = {}
        """By which the front is told of each fork, by its process id."""
        self._ends, self._wakes = socket.socketpair()
        """Has something to read when a fork may have ended."""
        self._wakes.setblocking(False)
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def is_fork(self) -> bool:
        """True in each fork, whose input and output are those that the front gave; false when the front has gone."""
        while True:
            ready, _, _ = select.select([self._front, self._ends], [], [])
            if self._ends in ready:
                self._ends.recv(4096)
                self._tell_of_ends()
            if self._front not in ready:
                continue
            asked = pipes.asked_for_fork(self._front)
            if asked is None:
                self._forget()
                return False
            ends, needs_model = asked
            if needs_model:
                _load()
            if self._forks(ends):
                return True

    def _forks(self, ends: list[socket.socket]) -> bool:
        """Fork; whether this is the fork."""
        given_input, given_output, news = ends
        with given_input, given_output:
            try:
                pid = os.fork()
            except OSError as error:
                log.error("no job worker could be forked: %s", error)
                news.close()  # by which the front knows
                return False
            if pid:
                self._news[pid] = news
                with contextlib.suppress(OSError):  # the front has gone, or wants it no more
                    pipes.send_number(news, pid)
                return False
            os.setsid()
            os.dup2(given_input.fileno(), 0)
            os.dup2(given_output.fileno(), 1)
        news.close()
        self._forget()
        return True

    def _forget(self) -> None:
        """Fork no more, in a fork or when the front has gone."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for one in (self._front, self._ends, self._wakes, *self._news.values()):
            one.close()

    def _tell_of_ends(self) -> None:
        with contextlib.suppress(ChildProcessError):  # none is left
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = found
                with self._news.pop(pid) as news, contextlib.suppress(OSError):
                    pipes.send_number(news, os.waitstatus_to_exitcode(status))


def _load() -> None:
    """Load what jobs with a model need. What fails here fails again in the fork, and is then its job's failure."""
    try:
        # Collections in the forks leave alone, and so shared, what is there then.
        with without_collections():
            for name in ("model_work", "extracting.job", "extracting.task"):
                importlib.import_module(f"penult_server.jobs.{name}")
    except Exception:
        log.exception("a job worker's modules cannot be loaded")
