"""Tasks run ahead of their consumer."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

MOST_THREADS = 8
SPARE = 1
"""Results that are kept ready beyond one for each thread."""


def loading_threads(*, decodes: bool) -> int:
    """Threads that prepare examples: one where they are in memory, several where each has to be decoded."""
    return min(os.cpu_count() or 1, MOST_THREADS) if decodes else 1


def prefetched(tasks: Iterable[Callable[[], T]], *, threads: int) -> Generator[T]:
    """Results of the tasks in order; the following ones are worked on while the caller uses the last.

    Decoding and resizing images release Python's lock, so threads keep several cores busy. An error of a task is
    raised where its result would have come.
    """
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="inputs") as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for task in tasks:
                waiting.append(pool.submit(task))
                if len(waiting) > threads + SPARE:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # A caller that stops early waits for what is under way, not for what is only queued.
            for future in waiting:
                future.cancel()
