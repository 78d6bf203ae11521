"""Answers that come while another is written are kept in one commit, and fail alone."""

import asyncio
import threading

import pytest

from penult_proto.v1 import refits_pb2
from penult_server.front.registry_thread import Registry
from penult_server.registry.cards import Given
from penult_server.registry.catalog import NewResult

MANY = 20


def answer(number: int, user: str = "ann") -> NewResult:
    refit = refits_pb2.Refit(request=refits_pb2.RefitRequest(feature_set="f" * 64, l2=0.1 + number))
    return NewResult(f"{number:064x}", "refit", refit, Given(user=user))


def with_registry(path, scenario):
    async def run():
        registry = Registry()
        await registry.open(path / "penult.db")
        try:
            return await scenario(registry)
        finally:
            await registry.close()

    return asyncio.run(run())


def test_many_answers_are_few_commits_and_each_has_its_card(tmp_path):
    async def scenario(registry):
        begin = threading.Event()
        held = asyncio.ensure_future(registry.run(begin.wait, 100))
        first = asyncio.ensure_future(registry.keep(answer(0)))
        await asyncio.sleep(0)  # its commit waits for the thread
        await asyncio.sleep(0)
        others = [asyncio.ensure_future(registry.keep(answer(number, f"user {number}"))) for number in range(1, MANY)]
        await asyncio.sleep(0)
        before = registry._database.n_transactions
        begin.set()
        cards = await asyncio.gather(first, *others)
        assert registry._database.n_transactions == before + 2
        assert [one.user for one in cards] == ["ann", *(f"user {number}" for number in range(1, MANY))]
        assert all(one.HasField("created") for one in cards)
        for number in range(MANY):
            stored, card, notes = await registry.run(
                registry.catalog.stored_result, f"{number:064x}", "refit", Given(tags=("seen",))
            )
            assert refits_pb2.Refit.FromString(stored).request.l2 == 0.1 + number
            assert (list(card.tags), notes) == (["seen"], [])
        assert await registry.run(registry.catalog.stored_result, "f" * 64, "refit", Given()) is None
        await held

    with_registry(tmp_path, scenario)


def test_an_answer_that_cannot_be_kept_fails_alone_and_the_first_answer_stays(tmp_path):
    async def scenario(registry):
        asked = [answer(1), NewResult("bad", "of no kind", answer(2).answer), answer(1, "bob"), answer(3)]
        found = await asyncio.gather(*(registry.keep(one) for one in asked), return_exceptions=True)
        assert isinstance(found[1], KeyError)
        assert [found[place].user for place in (0, 2, 3)] == ["ann", "ann", "ann"]
        assert await registry.run(registry.catalog.result, "bad", "refit") is None
        assert (await registry.run(registry.catalog.counts))["result"] == 2

    with_registry(tmp_path, scenario)


def test_an_answer_whose_caller_has_gone_is_kept_all_the_same(tmp_path):
    async def scenario(registry):
        gone, stays = (asyncio.ensure_future(registry.keep(answer(number))) for number in (1, 2))
        await asyncio.sleep(0)
        gone.cancel()
        await stays
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert (await registry.run(registry.catalog.counts))["result"] == 2

    with_registry(tmp_path, scenario)
