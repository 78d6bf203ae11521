"""Calls are let in by the time that they are expected to take beside those in progress."""

import asyncio

import pytest

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.front.admission.calls import Place, Ticket
from penult_server.front.admission.limits import Limit
from penult_server.front.admission.load import UNKNOWN, Computing, Load
from penult_server.front.admission.slots import FairSlots
from penult_server.status import status_of


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def load_that_knows(**seconds: float) -> tuple[Load, Clock]:
    clock = Clock()
    load = Load(clock)
    for method, each in seconds.items():
        for _ in range(3):
            run(load, clock, method, each)
    return load, clock


def begun(load: Load, method: str, user: str = "ann", *about: object, is_together: bool = False) -> Computing:
    call = Computing(load, user, (method, *about), is_together=is_together)
    call.begin()
    return call


def a_place(load: Load) -> Place:
    """A worker with ordinary limits and little patience."""
    limit = Limit(server=64, user=16)
    return Place(FairSlots("calls", limit, patience=0.02), FairSlots("calls", limit, patience=0.02), load)


def ended(call: Computing) -> None:
    call.is_answered = True
    call.end()


def run(load: Load, clock: Clock, method: str, seconds: float, *about: object) -> None:
    call = begun(load, method, "ann", *about)
    clock.now += seconds
    ended(call)


def fits(load: Load, method: str, user: str = "ann") -> bool:
    return Computing(load, user, (method,)).fits()


def most(load: Load, method: str, user: str = "ann") -> int:
    """How many calls are let in."""
    n = 0
    while n < 100 and fits(load, method, user):
        begun(load, method, user)
        n += 1
    return n


def test_a_call_waits_for_three_of_its_like_and_so_does_one_of_which_nothing_is_known():
    load, _ = load_that_knows(refit=0.5)
    assert most(load, "refit") == 4
    assert not fits(load, "unknown")
    assert load.expected(("unknown", "set")).own == UNKNOWN
    assert most(Load(Clock()), "unknown") == 4


def test_short_calls_may_be_many_and_long_ones_hold_them_up_for_their_turns_only():
    load, _ = load_that_knows(tiny=0.002)
    assert most(load, "tiny") > 50
    load, _ = load_that_knows(long=60.0, short=0.2)
    begun(load, "long")
    begun(load, "long")
    assert load.wait(Computing(load, "ann", ("short",))) == pytest.approx(2 * 5 * 0.2)
    assert most(load, "short") >= 1


def test_long_calls_find_a_place_among_short_ones_as_short_ones_do():
    load, _ = load_that_knows(long=60.0, short=0.2)
    for _ in range(3):
        begun(load, "short")
    assert fits(load, "short")
    assert fits(load, "long")


def test_many_calls_of_one_user_leave_room_for_another_user():
    load, _ = load_that_knows(refit=0.5)
    assert most(load, "refit", "many") == 4
    assert fits(load, "refit", "one")


@pytest.mark.parametrize("is_known", [True, False])
def test_long_calls_that_were_taken_for_short_ones_do_not_keep_out_another_user(is_known: bool):
    """Four that go on for minutes where .05 s was expected. Of the small one it is known that it once took 10 s beside
    a long one, of which 5 were its share; and how long it takes alone, or not."""
    load, clock = load_that_knows(spectra=0.05)
    about = ("small",)
    if is_known:
        run(load, clock, "spectra", 0.05, *about)
    beside, small = begun(load, "other"), begun(load, "spectra", "ann", *about)
    clock.now += 10
    ended(small)
    beside.end()
    for seed in range(4):
        begun(load, "spectra", "flood", seed)
    clock.now += 60
    assert Computing(load, "one", ("spectra", *about)).fits()


def test_shares_divide_the_time_among_those_in_progress_and_what_was_given_up_teaches_nothing():
    load, clock = load_that_knows()
    first = begun(load, "a")
    clock.now += 1
    second = begun(load, "b")
    clock.now += 2
    ended(first)  # 1 s alone, 1 s of the 2 together
    clock.now += 3
    ended(second)
    assert load.expected(("a",)).company.value == pytest.approx(2)
    assert load.expected(("b",)).company.value == pytest.approx(4)
    assert load.expected(("a",)).alone.n == 0
    given_up = begun(load, "c")
    clock.now += 9
    given_up.end()
    assert load.expected(("c",)).own == UNKNOWN


def test_calls_that_are_solved_together_are_more_than_three():
    """Eight at once take as long as two alone: a share is a quarter of the time alone."""
    load, clock = load_that_knows(sweep=1.0)
    for _ in range(60):
        calls = [begun(load, "sweep") for _ in range(8)]
        clock.now += 2.0
        for call in calls:
            ended(call)
    assert 12 <= most(load, "sweep") <= 15


def test_what_is_solved_together_waits_for_no_other_of_its_batch():
    load, _ = load_that_knows(refit=0.5)
    for _ in range(200):
        assert Computing(load, "ann", ("refit", "set"), is_together=True).fits()
        begun(load, "refit", "ann", "set", is_together=True)
    call = Computing(load, "ann", ("refit", "set"), is_together=True)
    assert load.wait(call) == 0
    # Of another set, or another user, it is another batch, and waits for this one as for one long call.
    assert load.wait(Computing(load, "ann", ("refit", "other"), is_together=True)) == pytest.approx(5 * 0.5)
    assert load.wait(Computing(load, "bob", ("refit", "set"), is_together=True)) == pytest.approx(0.125 * 0.5)


def test_batches_of_many_sets_are_not_let_in_by_the_many():
    load, _ = load_that_knows(refit=0.5)
    n = 0
    while (call := Computing(load, "ann", ("refit", f"set {n}"), is_together=True)).fits():
        call.begin()
        n += 1
    assert n == 25


def test_a_flood_that_is_solved_together_holds_others_up_as_one_long_call():
    load, _ = load_that_knows(refit=0.5, spectra=0.2)
    begun(load, "refit", "many", "set")
    for _ in range(60):
        begun(load, "refit", "many", "set", is_together=True)
    assert [one.share for one in load.computations()] == pytest.approx([0.5, 60 * 0.125 * 0.5])
    assert most(load, "spectra", "many") >= 2
    load, _ = load_that_knows(refit=0.5, spectra=0.2)
    for _ in range(60):
        begun(load, "refit", "many", "set", is_together=True)
    assert load.wait(Computing(load, "one", ("spectra",))) == pytest.approx(0.2), "turns: as much as its own"
    assert most(load, "spectra", "one") >= 3


def test_a_set_of_its_own_has_costs_of_its_own_and_a_new_one_those_of_the_method():
    load, clock = load_that_knows()
    run(load, clock, "refit", 4.0, "large")
    for _ in range(30):
        run(load, clock, "refit", 0.1, "small")
    assert load.expected(("refit", "large")).own == pytest.approx(4.0)
    assert load.expected(("refit", "small")).own == pytest.approx(0.1)
    assert load.expected(("refit", "another")).own < 1.0


def test_kinds_are_forgotten_the_oldest_first():
    load, clock = load_that_knows()
    for number in range(1_200):
        run(load, clock, "refit", 0.1, number)
    assert load.expected(("refit", 0)) is load.expected(("refit",))
    assert load.expected(("refit", 1_199)).alone.n == 1
    assert len(load._costs) <= 1_000


def test_who_does_not_fit_waits_a_little_and_is_then_told_when_to_ask_again():
    async def main() -> ServiceError:
        load, _ = load_that_knows(refit=0.2)
        worker = a_place(load)
        shared = worker.computing
        tickets = [Ticket("ann", worker, "refit") for _ in range(6)]
        for one in tickets[:4]:
            await one.compute()
        with pytest.raises(ServiceError) as raised:
            await tickets[5].compute()
        late = asyncio.ensure_future(tickets[4].compute())
        await asyncio.sleep(0)
        tickets[0].end()
        await late  # who waits gets the place at once
        for one in tickets[1:]:
            one.end()
        assert (shared.n_held, shared.n_waiting, len(load.running)) == (0, 0, 0)
        return raised.value

    error = asyncio.run(main())
    assert error.kind is ErrorKind.BUSY
    assert error.retry_after
    assert "4 computing calls are in progress" in error.message
    assert len(status_of(error).details) == 2


def test_a_lone_caller_is_never_refused():
    async def main() -> None:
        load, _ = load_that_knows(refit=5.0)
        worker = a_place(load)
        for _ in range(50):
            two = [Ticket("ann", worker, "refit") for _ in range(2)]
            for one in two:
                await one.compute()
            for one in two:
                one.end(is_answered=True)

    asyncio.run(main())


def test_a_refit_that_waits_is_let_in_when_what_it_waited_for_ends_though_that_was_no_refit():
    async def main() -> None:
        load, _ = load_that_knows(spectra=1.0, refit=0.05)
        worker = a_place(load)
        computing = [Ticket("ann", worker, "spectra") for _ in range(4)]
        for one in computing[:3]:
            await one.compute()
        load.running[begun(load, "spectra")] = None
        refit = Ticket("ann", worker, "refit")
        waiting = asyncio.ensure_future(refit.compute(is_together=True))
        await asyncio.sleep(0)
        assert not waiting.done(), "four seconds of others are before it"
        for one in computing[:3]:
            one.end(is_answered=True)
        await asyncio.sleep(0)
        assert worker.together.n_held == 1
        await waiting

    asyncio.run(main())
