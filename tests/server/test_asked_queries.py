"""Queries that are watched: names, sharing, and that nothing is kept of those that have ended."""

import asyncio
from collections.abc import Callable

import pytest

from penult_proto.errors import ErrorKind
from penult_proto.services import QUERY_KEY
from penult_proto.v1.jobs_pb2 import Progress
from penult_server.compute.reporting import INTERVAL, Reporter, ReportPipe
from penult_server.errors import ServiceError
from penult_server.front.queries.shared_calls import SharedCalls
from penult_server.front.workers.asked_queries import WAITING, AskedQueries
from penult_server.front.workers.pace import Pace


class Context:
    """A call whose metadata names it."""

    def __init__(self, name: str | bytes, allowed: float | None = None) -> None:
        self._name = name
        self._allowed = allowed

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return ((QUERY_KEY, self._name),)

    def time_remaining(self) -> float | None:
        return self._allowed


def watched(queries: AskedQueries, name: str) -> tuple[list[Progress], "asyncio.Task[None]"]:
    seen: list[Progress] = []
    take = seen.append  # at once: an extended list would be whole at the end

    async def watch() -> None:
        async for progress in queries.watch(name):
            take(progress)

    return seen, asyncio.create_task(watch())


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def at(done: float, stage: str = "replicates") -> Progress:
    return Progress(stage=stage, done=done, total=10, unit="resamples")


def test_a_query_that_cannot_be_ready_in_time_is_given_up_and_its_sharers_are_not():
    async def run() -> None:
        queries, shared, may_end = AskedQueries(), SharedCalls[int](), asyncio.Event()

        async def compute() -> int:
            await may_end.wait()
            return 1

        async def ask(allowed: float | None) -> int:
            with queries.asked(Context("", allowed)) as query, queries.answer(query, "digest"):
                return await shared.get("digest", compute, query.give_ups["digest"])

        hasty, patient, endless = (asyncio.ensure_future(ask(allowed)) for allowed in (30.0, 3000.0, None))
        await settled()
        now = 0.0
        queries._works["digest"].pace = Pace(lambda: now)
        queries.note(["digest"], at(0))
        now = 10.0
        queries.note(["digest"], at(1))  # 90 seconds more
        with pytest.raises(ServiceError, match=r"about 90 seconds more, and \d+ are left") as raised:
            await hasty
        assert raised.value.kind is ErrorKind.DEADLINE_EXCEEDED
        may_end.set()
        assert await patient == await endless == 1
        assert not queries._works

    asyncio.run(run())


def test_sharers_see_the_same_and_nothing_is_kept():
    async def run() -> None:
        queries = AskedQueries()
        with queries.asked(Context("a")) as a, queries.answer(a, "digest"):
            seen_a, watch_a = watched(queries, "a")
            await settled()
            queries.note(["digest", "of nobody"], at(3))
            await settled()
            with queries.asked(Context("b")) as b, queries.answer(b, "digest"):
                seen_b, watch_b = watched(queries, "b")
                await settled()
                queries.note(["digest"], at(4))
                await settled()
            await watch_b
            queries.note(["digest"], at(5))
            queries.note(["digest"], at(6))  # before the watcher had its turn: it sees the newest alone
            await settled()
        await watch_a
        assert seen_a == [WAITING, at(3), at(4), at(6)]
        assert seen_b == [at(3), at(4)]
        assert not queries._works
        assert not queries._by_name

    asyncio.run(run())


@pytest.mark.parametrize("name", ["", "x" * 65, b"bytes"])
def test_a_name_that_is_none_is_watched_by_nobody(name):
    async def run() -> None:
        queries = AskedQueries()
        with queries.asked(Context(name)) as query, queries.answer(query, "digest"):
            seen, watch = watched(queries, name)
            await watch
            assert seen == []

    asyncio.run(run())


def test_two_calls_of_one_name_end_each_for_itself():
    async def run() -> None:
        queries = AskedQueries()
        with queries.asked(Context("a")):
            with queries.asked(Context("a")):
                _, second = watched(queries, "a")
                await settled()
            await second
        assert not queries._by_name

    asyncio.run(run())


def test_several_answers_count_one_by_one_or_are_shown_together():
    async def run() -> None:
        queries = AskedQueries()
        with queries.asked(Context("a"), 3, "refits") as query:
            with queries.answer(query, "1"), queries.answer(query, "2"):
                queries.note(["1", "2"], at(4, "fitting"))
                assert query.progress() == at(4, "2 refits together: fitting")
            query.answered += 2
            with queries.answer(query, "3"):
                queries.note(["3"], at(5, "fitting"))
                stage = "fitting, 5 of 10 resamples"
                assert query.progress() == Progress(stage=stage, done=2, total=3, unit="refits")

    asyncio.run(run())


@pytest.fixture
def clock() -> Callable[..., float]:
    """Time that passes when it is told to."""
    now = [0.0]

    def tell(passed: float = 0.0) -> float:
        now[0] += passed
        return now[0]

    return tell


def test_reports_come_now_and_then_and_never_fall(clock):
    said: list[tuple[str, float]] = []
    reporter = Reporter(lambda progress: said.append((progress.stage, progress.done)), clock)
    report = reporter.stage("replicates", "resamples")
    report(1, 10)
    clock(INTERVAL)
    report(3, 10)
    report(4, 10)
    clock(INTERVAL)
    report(2, 10)
    report(10, 10)  # the end of a stage that was seen is told at once, and only once
    report(10, 10)
    reporter.stage("short", "rows")(5, 5)
    again = reporter.stage("replicates", "resamples")
    clock(INTERVAL)
    again(1, 10)
    assert said == [("replicates", 3), ("replicates", 4), ("replicates", 10), ("replicates (2)", 1)]


def test_a_front_that_has_gone_does_not_end_a_query():
    class Closed:
        def write(self, content: bytes) -> None:
            raise BrokenPipeError

    reporter = ReportPipe(Closed()).of(["query"])
    reporter._due = 0.0
    reporter.stage("replicates", "resamples")(1, 10)
