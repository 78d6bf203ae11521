"""One computation for identical queries that arrive while it runs."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from penult_server.front.observed.call import answered

T = TypeVar("T")


class SharedCalls(Generic[T]):
    """One task per key; it is cancelled when the last caller that waits for it has gone."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[T]] = {}
        self._waiting: dict[str, int] = {}

    async def get(
        self, key: str, compute: Callable[[], Awaitable[T]], give_up: "asyncio.Future[Exception] | None" = None
    ) -> T:
        """The result of `compute`, started by the first caller of this key.

        Raises the result of `give_up` when that comes first.
        """
        task = self._tasks.get(key)
        source = "computed" if task is None else "shared"
        if task is None:
            task = asyncio.ensure_future(self._finish(key, compute))
            self._tasks[key] = task
        self._waiting[key] = self._waiting.get(key, 0) + 1
        try:
            if give_up is not None:
                await asyncio.wait({task, give_up}, return_when=asyncio.FIRST_COMPLETED)
                if not task.done():
                    raise give_up.result()
            found = await asyncio.shield(task)
            answered(source)
            return found
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]
                if not task.done():
                    self._tasks.pop(key, None)
                    task.cancel()

    async def _finish(self, key: str, compute: Callable[[], Awaitable[T]]) -> T:
        try:
            return await compute()
        finally:
            if self._tasks.get(key) is asyncio.current_task():
                del self._tasks[key]
