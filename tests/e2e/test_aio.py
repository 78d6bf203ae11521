"""The asyncio twin: generated and current, equal to the synchronous client, and cancelled at the server."""

import asyncio
import inspect
import os
import signal
from pathlib import Path

import numpy as np
import pytest

import penult
from penult import aio
from penult.aio import generate
from penult.aio.running import plain

X = np.random.default_rng(0).normal(size=(240, 12)).astype(np.float32)
Y, A = np.arange(240) % 2, np.arange(240) // 120


def run(what):
    return asyncio.run(what)


def test_the_generated_modules_are_current():
    written = {path.name: path.read_text() for path in generate.WHERE.glob("*.py")}
    assert written == generate.written(), "python -m penult.aio.generate"


def public(kind: type) -> dict:
    members = inspect.getmembers(kind, lambda one: inspect.isfunction(one) or isinstance(one, property))
    return {name: one for name, one in members if not name.startswith("_")}


@pytest.mark.parametrize("name", ["", *generate.ATTRIBUTES, "Job", "JobGroup"])
def test_every_method_is_there_with_the_same_arguments(name):
    sync = {"": penult.Client, "Job": generate.Job, "JobGroup": generate.JobGroup}.get(name) or generate.ATTRIBUTES[
        name
    ]
    twin = getattr(aio, name) if name.startswith("Job") else _collection(name)
    ours, theirs = public(twin), public(sync)
    assert set(ours) == set(theirs)
    for each, member in theirs.items():
        if isinstance(member, property):
            assert isinstance(ours[each], property)
            continue
        asked, given = inspect.signature(member).parameters, inspect.signature(ours[each]).parameters
        assert {n: (p.kind, p.default) for n, p in asked.items()} == {n: (p.kind, p.default) for n, p in given.items()}
        is_waited = "timeout" in asked or each == "close"
        assert inspect.iscoroutinefunction(ours[each]) == is_waited, each


def _collection(name: str) -> type:
    if not name:
        return aio.Client
    module = __import__("penult.aio.twins.client", fromlist=["Client"])
    return getattr(module, generate.ATTRIBUTES[name].__name__)


def test_answers_are_those_of_the_synchronous_client(client):
    async def asked():
        async with await aio.local(client.connection.root) as twin:
            mine = await twin.features.upload(X, Y, A, name="mine", progress=False)
            spectra, refit = await asyncio.gather(
                twin.spectra(mine, by="group", top_k=3, replicates=0), twin.refit(mine, preset="dfr_l2")
            )
            both = await asyncio.gather(*(twin.results.get(refit.digest) for _ in range(500)))
            assert twin.presets().to_frame() is not None
            return mine, spectra, refit, both, await twin.features.list()

    mine, spectra, refit, both, listed = run(asked())
    assert mine == client.features.get("mine")
    assert (client.spectra(mine, by="group", top_k=3, replicates=0).eigenvalues == spectra.eigenvalues).all()
    assert client.refit(mine, preset="dfr_l2").digest == refit.digest
    assert {one.digest for one in both} == {refit.digest}
    assert listed.to_frame()["name"].tolist() == ["mine"]


def test_a_client_serves_one_loop_after_the_other_and_a_child_process(client):
    twin = run(aio.local(client.connection.root))

    async def asked():
        return (await twin.info()).root

    async def forked_within():
        return in_a_child(lambda: run_on(asked()))

    def run_on(coroutine):
        """As a child would that goes on in its parent's loop."""
        try:
            coroutine.send(None)
        except RuntimeError as error:
            return str(error)

    root = run(asked())
    assert run(asked()) == root
    assert in_a_child(lambda: run(asked())) == root
    assert "an asyncio.run(...) of its own" in run(forked_within())
    assert run(asked()) == root
    run(twin.close())


def in_a_child(what) -> str:
    """What a fork of this process gives."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(50)
        try:
            os.write(theirs, str(what()).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as file:
        said = file.read().decode()
    os.waitpid(child, 0)
    return said


def test_errors_are_those_of_the_synchronous_client(client):
    async def asked():
        async with await aio.local(client.connection.root) as twin:
            await twin.runs.get("no-such-run")

    with pytest.raises(penult.NotFound, match="no-such-run"):
        run(asked())
    with pytest.raises(penult.Unavailable):
        run(aio.connect("localhost:1", token="x"))


def test_cancelling_a_task_reaches_the_server_and_never_the_job(client, table: Path, tiny: dict):
    client.datasets.register("birds", str(table))

    async def asked():
        async with await aio.local(client.connection.root) as twin:
            job = await twin.finetune(dataset="birds", epochs=400, **tiny)
            waiting = asyncio.create_task(job.wait(progress=False))
            while (await job.refresh()).state != "running":
                await asyncio.sleep(0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            state = (await job.refresh()).state
            assert plain(job).id in [one.id for one in await twin.jobs.list(states=["running"])]
            await job.cancel()
            with pytest.raises(penult.Cancelled):
                await job.wait(timeout=100)
            return state

    assert run(asked()) == "running"


def test_a_cancelled_query_is_given_up_by_the_server(client):
    """Its worker is free for the next query long before the cancelled one would have ended."""
    big = np.random.default_rng(1).normal(size=(2000, 64)).astype(np.float32)
    mine = client.features.upload(big, np.arange(2000) % 2, np.arange(2000) // 1000, name="big", progress=False)
    calls: list[object] = []

    async def asked():
        async with await aio.local(client.connection.root) as twin:
            method = twin.sync.connection.stubs.spectra.ComputeSpectra
            future = method.future

            def recorded(*arguments, **named):
                calls.append(future(*arguments, **named))
                return calls[-1]

            method.future = recorded
            task = asyncio.create_task(twin.spectra(mine, by="group", replicates=100_000, timeout=500, progress=False))
            while not calls:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(asked())
    assert len(calls) == 1
    assert calls[0].cancelled()
    assert client.spectra(mine, by="class", top_k=1, replicates=0, timeout=100).eigenvalues.shape == (2, 1)
