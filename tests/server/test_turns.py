"""The device by turns: long computations let others in between, users in turn, and never two at once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from penult_proto.errors import ErrorKind
from penult_proto.v1.jobs_pb2 import Progress
from penult_server.compute import turns as module
from penult_server.compute.turns import Turns
from penult_server.front.workers.pace import Pace, too_late


class Device:
    """Turns whose every pause ends a slice, and what was computed in which order."""

    def __init__(self) -> None:
        self.turns = Turns(clock=self._tick)
        self.log: list[str] = []
        self._now = 0.0
        self._computing = threading.Lock()

    def _tick(self) -> float:
        self._now += module.SLICE
        return self._now

    def compute(self, name: str, user: str, n_steps: int) -> None:
        with self.turns.held(user):
            for _ in range(n_steps):
                assert self._computing.acquire(blocking=False), "two compute at once"
                self.log.append(name)
                self._computing.release()
                self.turns.pause()

    def until(self, n_waiting: int) -> None:
        """Wait until so many wait for the device; called by its holder's test."""
        while sum(len(one.short) + len(one.long) for one in self.turns._waiting.values()) < n_waiting:
            threading.Event().wait(0.001)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(40) as pool:
        yield pool


def started(pool, device: Device, *calls: tuple[str, str, int]) -> Callable[[], None]:
    """Calls that wait in this order for the device, which is free once the answer is called; then it waits for them."""
    holder = device.turns.held("holder")
    holder.__enter__()
    futures = []
    for count, call in enumerate(calls, 1):
        futures.append(pool.submit(device.compute, *call))
        device.until(count)

    def release() -> None:
        holder.__exit__(None, None, None)
        for future in futures:
            future.result(100)

    return release


def test_a_small_query_is_not_held_up_by_a_long_one_of_another_user(pool):
    device = Device()
    started(pool, device, ("long", "many", 50), ("small", "one", 1))()
    assert device.log.index("small") <= 2
    assert device.log.count("long") == 50


def test_thirty_long_queries_of_one_user_cost_another_a_turn_each_time(pool):
    device = Device()
    started(pool, device, *[(f"long {k}", "many", 20) for k in range(30)], ("small", "one", 5))()
    assert device.log.index("small") <= 2
    assert len(device.log) == 605
    last = len(device.log) - 1 - device.log[::-1].index("small")
    assert last <= 12  # five slices, each after one of the other user's


def test_who_comes_while_another_user_computes_is_before_all_that_she_has_waiting(pool):
    device = Device()
    with device.turns.held("many"):
        waiting = []
        for count, call in enumerate((("first", "many", 1), ("second", "many", 1), ("small", "one", 1)), 1):
            waiting.append(pool.submit(device.compute, *call))
            device.until(count)
    for one in waiting:
        one.result(100)
    assert device.log == ["small", "first", "second"]


def test_short_computations_of_a_user_are_done_one_after_another(pool):
    device = Device()
    started(pool, device, *[(str(k), "one", 3) for k in range(5)])()
    assert device.log == [str(k) for k in range(5) for _ in range(3)]


def test_a_long_computation_lets_in_those_of_its_own_user(pool):
    device = Device()
    started(pool, device, ("long", "one", 100), ("small", "one", 2), ("other", "one", 2))()
    assert max(device.log.index("small"), device.log.index("other")) < 40
    assert device.log.count("long") == 100


def test_a_user_has_few_computations_open(pool):
    device = Device()
    started(pool, device, *[(f"long {k}", "many", 10) for k in range(12)])()
    first_ends = min(len(device.log) - device.log[::-1].index(f"long {k}") for k in range(12))
    assert len(set(device.log[:first_ends])) <= module.MOST_OPEN_OF_A_USER
    assert not device.turns._open


def test_a_steady_block_lets_nobody_in(pool):
    device = Device()
    with device.turns.held("one"):
        other = pool.submit(device.compute, "other", "other", 1)
        device.until(1)
        with device.turns.steady():
            device.turns.pause()
            assert not device.log
        device.turns.pause()
        assert device.log == ["other"]
    other.result(100)


def test_threads_without_a_turn_do_not_pause():
    Turns().pause()


def progress(done: float, stage: str = "fitting") -> Progress:
    return Progress(stage=stage, done=done, total=100)


def test_the_pace_of_a_stage_tells_how_long_it_takes():
    now = 0.0
    pace = Pace(lambda: now)
    assert pace.seconds_left(progress(10)) is None
    now = 1.0
    assert pace.seconds_left(progress(20)) is None  # too early to say
    now = 4.0
    assert pace.seconds_left(progress(20)) == pytest.approx(32)
    assert pace.seconds_left(progress(20, "scoring")) is None


def test_what_comes_too_late_is_said_in_seconds():
    error = too_late(321.4, 12.2)
    assert error.kind is ErrorKind.DEADLINE_EXCEEDED
    assert "about 321 seconds more, and 12 are left" in error.message
