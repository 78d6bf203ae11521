"""Equal queries in flight are computed once, and stop when nobody waits any more."""

import asyncio

import pytest

from penult_server.front.queries.shared_calls import SharedCalls


class Work:
    """A computation that ends when it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.started = 0
        self.cancelled = False
        self.may_end = asyncio.Event()
        self.error = error

    async def __call__(self) -> int:
        self.started += 1
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self.error:
            raise self.error
        return self.started


async def started(calls: SharedCalls[int], work: Work, n: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(calls.get("key", work)) for _ in range(n)]
    while not work.started:
        await asyncio.sleep(0)
    return tasks


def test_many_callers_share_one_computation():
    async def run():
        calls, work = SharedCalls[int](), Work()
        tasks = await started(calls, work, 5)
        work.may_end.set()
        assert await asyncio.gather(*tasks) == [1] * 5
        again = asyncio.create_task(calls.get("key", work))
        assert await again == 2, "a later caller computes anew: keeping answers is the store's work"

    asyncio.run(run())


def test_one_caller_leaving_does_not_disturb_the_others():
    async def run():
        calls, work = SharedCalls[int](), Work()
        tasks = await started(calls, work, 3)
        tasks[0].cancel()
        await asyncio.gather(tasks[0], return_exceptions=True)
        work.may_end.set()
        assert await asyncio.gather(*tasks[1:]) == [1, 1]
        assert not work.cancelled

    asyncio.run(run())


def test_the_last_caller_leaving_ends_the_computation():
    async def run():
        calls, work = SharedCalls[int](), Work()
        tasks = await started(calls, work, 2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
        assert work.cancelled
        other = Work()
        other.may_end.set()
        assert await calls.get("key", other) == 1

    asyncio.run(run())


def test_an_error_reaches_every_caller():
    async def run():
        calls, work = SharedCalls[int](), Work(ValueError("no"))
        tasks = await started(calls, work, 3)
        work.may_end.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(answer) for answer in answers] == [ValueError] * 3
        with pytest.raises(ValueError, match="no"):
            await calls.get("key", work)

    asyncio.run(run())
