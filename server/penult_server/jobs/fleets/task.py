"""A process that does tasks, one after another: `python -m penult_server.jobs.fleets.task TABLE THREADS`.

Its input is lines of JSON, each an order or a cancellation; its output a line for each order, how that ended. It ends
when its input does, which also happens when the job's worker is killed.
"""

import json
import os
import sys
import threading
from functools import partial
from queue import SimpleQueue
from typing import IO, Any

from penult_proto.errors import ErrorKind
from penult_server import pipes
from penult_server.errors import ServiceError
from penult_server.jobs.fleets.answers import answer_of
from penult_server.jobs.fleets.entries import find

Order = tuple[str, dict[str, Any]]


class Context:
    """The `TaskContext` of all tasks of this process."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.cancelled = threading.Event()

    def check_cancelled(self) -> None:
        if self.cancelled.is_set():
            raise ServiceError(ErrorKind.CANCELLED, "the job was cancelled")

    def progress(self, done: float) -> None:
        """Nobody is told: a task is short, and its end is."""


def main(table: str, threads: int) -> None:
    """Do what is ordered until the input ends."""
    answers = pipes.own_stdout()
    context = Context(threads)
    orders: SimpleQueue[Order] = SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, orders, context), daemon=True).start()
    while True:
        name, order = orders.get()
        answer = answer_of(partial(_do, table, name, order, context))
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def _do(table: str, name: str, order: dict[str, Any], context: Context) -> dict[str, Any]:
    return find(table, name)(order, context)


def _listen(lines: IO[bytes], orders: "SimpleQueue[Order]", context: Context) -> None:
    for line in lines:
        said = json.loads(line)
        if said.get("cancel"):
            context.cancelled.set()
        else:
            orders.put((said["entry"], said["order"]))
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
