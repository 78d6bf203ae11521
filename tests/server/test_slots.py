"""Slots that are shared fairly between users, and refusals instead of long waits."""

import asyncio
from collections import defaultdict

import pytest

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.front.admission.calls import Place, Ticket, Tickets
from penult_server.front.admission.limits import Limit, Limits
from penult_server.front.admission.slots import FairSlots


def slots(server: int, user: int, patience: float | None = None) -> FairSlots:
    return FairSlots("calls", Limit(server=server, user=user), patience)


def place(server: int, user: int, patience: float = 0.05) -> Place:
    """A worker that computes so many calls at once; of those that are solved together it takes one more."""
    limits = Limits(
        computing=Limit(server=server, user=user),
        together=Limit(server=server + 1, user=user + 1),
        patience=patience,
    )
    return Place.of(limits)


async def settled() -> None:
    """Let every task go as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


def busy():
    return pytest.raises(ServiceError, check=lambda error: error.kind is ErrorKind.BUSY)


def test_who_waits_is_served_in_turns_of_users_whatever_number_each_has():
    async def main() -> list[str]:
        shared, served = slots(1, 1), list[str]()

        async def call(user: str) -> None:
            await shared.acquire(user)
            served.append(user)
            await settled()
            shared.release(user)

        calls = [asyncio.ensure_future(call("many")) for _ in range(30)]
        await settled()
        calls += [asyncio.ensure_future(call("one")), asyncio.ensure_future(call("other"))]
        await asyncio.gather(*calls)
        assert (shared.n_held, shared.n_waiting) == (0, 0)
        return served

    served = asyncio.run(main())
    assert served.count("many") == 30
    assert max(served.index("one"), served.index("other")) <= served.index("many") + 6


def test_who_comes_while_another_user_has_the_slots_is_before_all_that_she_has_waiting():
    async def main() -> list[str]:
        shared, served = slots(1, 1), list[str]()

        async def call(user: str) -> None:
            await shared.acquire(user)
            served.append(user)
            shared.release(user)

        await shared.acquire("many")
        calls = []
        for user in ("many", "many", "one"):
            calls.append(asyncio.ensure_future(call(user)))
            await settled()
        shared.release("many")
        await asyncio.gather(*calls)
        return served

    assert asyncio.run(main()) == ["one", "many", "many"]


def test_a_user_at_the_limit_leaves_the_rest_to_others():
    async def main() -> None:
        shared = slots(4, 2, patience=0.0)
        for _ in range(2):
            await shared.acquire("many")
        with busy() as raised:
            await shared.acquire("many")
        assert raised.value.metadata == {"limit": "2", "used": "2", "what": "calls"}
        await shared.acquire("one")
        shared.take("other")
        with busy() as raised:
            shared.take("fifth")
        assert raised.value.metadata["used"] == raised.value.metadata["limit"] == "4"
        shared.release("one")
        shared.take("fifth")

    asyncio.run(main())


def test_nobody_waits_longer_than_the_patience_and_no_more_wait_than_are_served():
    async def main() -> None:
        shared = slots(2, 2, patience=0.05)
        shared.take("many")
        shared.take("many")
        waiting = [asyncio.ensure_future(shared.acquire("many")) for _ in range(2)]
        await settled()
        with busy():  # at once
            await shared.acquire("many")
        assert [type(one) for one in await asyncio.gather(*waiting, return_exceptions=True)] == [ServiceError] * 2
        assert (shared.n_held, shared.n_waiting) == (2, 0)

    asyncio.run(main())


def test_a_slot_that_comes_as_its_call_is_cancelled_is_given_on():
    async def main() -> None:
        shared = slots(1, 1)
        shared.take("first")
        second, third = (asyncio.ensure_future(shared.acquire(user)) for user in ("second", "third"))
        await settled()
        shared.release("first")
        second.cancel()
        await third
        assert second.cancelled()
        assert shared.n_held == 1
        shared.release("third")
        assert shared.n_held == 0

    asyncio.run(main())


def test_a_slot_is_not_given_to_who_has_just_given_up():
    async def main() -> None:
        shared = slots(1, 1)
        shared.take("first")
        waiting = [asyncio.ensure_future(shared.acquire(user)) for user in ("second", "second", "third")]
        await settled()
        for one in waiting[:2]:
            one.cancel()  # told at its next step, after the release
        shared.release("first")
        await waiting[2]
        assert [one.cancelled() for one in waiting] == [True, True, False]
        shared.release("third")
        assert (shared.n_held, shared.n_waiting) == (0, 0)

    asyncio.run(main())


def test_the_parts_of_a_call_share_its_slot_and_its_refusal():
    async def main() -> None:
        worker = place(1, 1)
        shared = worker.computing
        first, second = Ticket("one", worker), Ticket("one", worker)
        await asyncio.gather(*(first.compute() for _ in range(100)))
        assert shared.n_held == 1
        begun = asyncio.get_running_loop().time()
        refusals = await asyncio.gather(*(second.compute() for _ in range(100)), return_exceptions=True)
        assert {type(one) for one in refusals} == {ServiceError}
        assert asyncio.get_running_loop().time() - begun < 2  # one wait for all of them
        first.end()
        assert shared.n_held == 0
        await first.compute()  # what it began goes on for others, and holds nothing
        assert shared.n_held == 0

    asyncio.run(main())


def test_a_call_waits_for_the_workers_that_it_needs_alone():
    async def main() -> None:
        places = defaultdict(lambda: place(1, 1))
        here, both = Tickets("one", "refit", places), Tickets("one", "refit", places)
        await here.at(0).compute()
        await both.at(1).compute()  # whoever computes at 0 does not hold it up
        with busy():
            await both.at(0).compute()
        here.end()
        await Tickets("one", "refit", places).at(0).compute()
        assert [places[number].computing.n_held for number in (0, 1)] == [1, 1]
        both.end()
        await both.at(2).compute()  # what it began goes on for others, and holds nothing
        assert [places[number].computing.n_held for number in (0, 1, 2)] == [1, 0, 0]

    asyncio.run(main())


def test_calls_that_are_solved_together_take_no_slot_of_the_others():
    async def main() -> None:
        worker = place(1, 1)
        alone, refused = Ticket("one", worker), Ticket("one", worker)
        together = [Ticket("one", worker) for _ in range(3)]
        await alone.compute()
        for one in together[:2]:
            await one.compute(is_together=True)
        assert (worker.computing.n_held, worker.together.n_held) == (1, 2)
        with busy():
            await together[2].compute(is_together=True)
        with busy():
            await refused.compute()
        for one in (alone, *together):
            one.end()
        assert (worker.computing.n_held, worker.together.n_held, len(worker.load.running)) == (0, 0, 0)

    asyncio.run(main())
