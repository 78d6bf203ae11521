"""Chunks that are read one after the other are fetched several at a time: one connection does not fill a line."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

AT_ONCE = 4
"""Chunks that are on their way beside the one that is asked for; each is held in memory until it is."""


class Ahead:
    """Fetches the next chunks of an array whose chunks somebody reads in order. For the files of one thing."""

    def __init__(self, fetch: Callable[[str], memoryview], is_wanted: Callable[[str], bool]) -> None:
        """`is_wanted` says of a name whether there is such a file, and it is not at hand already."""
        self._fetch = fetch
        self._is_wanted = is_wanted
        self._coming: dict[str, Future[memoryview]] = {}
        self._last = ""
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None

    def get(self, name: str) -> memoryview:
        """A file; those that follow are then on their way. Raises what `fetch` raises."""
        with self._lock:
            coming = self._coming.pop(name, None)
        content = self._fetch(name) if coming is None else coming.result()
        self.passed(name)
        return content

    def passed(self, name: str) -> None:
        """Say that a file was read, wherever it came from."""
        with self._lock:
            is_next, self._last = following(self._last) == name, name
            if not is_next:
                self._coming.clear()  # what is on its way goes to whoever keeps it
                return
            for _ in range(AT_ONCE):
                name = following(name)
                if name not in self._coming and self._is_wanted(name):
                    self._threads = self._threads or ThreadPoolExecutor(AT_ONCE, "fetch")
                    self._coming[name] = self._threads.submit(self._fetch, name)


def following(name: str) -> str:
    """The file of the next chunk along the first axis; "" for what is no chunk."""
    array, c, place = name.rpartition("/c/")
    index, *rest = place.split("/")
    return f"{array}/c/{'/'.join([str(int(index) + 1), *rest])}" if c and index.isdecimal() else ""
