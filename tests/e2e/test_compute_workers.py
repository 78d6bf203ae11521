"""Several compute workers: every checkpoint's features meet in one, whose death costs the others nothing."""

import asyncio
import itertools
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_cancelled_queries import LONG_PATH, WAIT
from test_progress import Asked

import penult
from penult.doctor import examine
from penult.wire import encode_refits
from penult_proto.errors import ErrorKind
from penult_proto.v1 import refits_pb2
from penult_proto.v1.pipes_pb2 import ComputeReady
from penult_server.front.registry_thread import Registry
from penult_server.front.server import Server
from penult_server.front.workers.compute_workers import ComputeWorkers
from penult_server.front.workers.routing import MOST_WAITING, ranked
from penult_server.messages import feature_set_to_proto
from penult_server.records import LabelNames
from penult_server.settings import Settings
from penult_server.stores.features import FeatureHeader, FeatureWriter

N_WORKERS = 3
SPLITS = ("train", "val", "test")
NUMBERS = itertools.count()


class InProcess:
    """A server whose front runs in a thread of this process, so that a test sees what it knows of its workers."""

    def __init__(self, root: Path, n_workers: int, **options: Any) -> None:
        self.root = root
        settings = Settings(root=root, port=0, device="cpu", compute_workers=n_workers, metrics_port=0, **options)
        self.server = Server(settings)
        self._thread = threading.Thread(target=asyncio.run, args=(self.server.run(),))
        self._thread.start()
        until((root / "server.json").exists)
        self.client = penult.local(root)

    def is_up(self) -> bool:
        """Whether all of its workers are."""
        return all(one.device and one.is_up for one in self.client.info().compute_workers)

    @property
    def compute(self) -> ComputeWorkers:
        return self.server._compute

    def residents(self) -> list[frozenset[str]]:
        return [one.residents for one in self.compute.workers]

    def pid(self, number: int) -> int:
        process = self.compute.workers[number]._process
        assert process is not None
        return process.pid

    def stop(self) -> None:
        self.client.close()
        self.server.stop()
        self._thread.join()


def until(is_so: Callable[[], object], seconds: float = WAIT) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def write_set(server: InProcess, checkpoint: str, split: str, seed: int) -> str:
    """The digest of a set that was extracted from a checkpoint."""
    rng = np.random.default_rng(seed)
    y, a = np.repeat([0, 1], 60), np.tile([0, 1], 60)
    header = FeatureHeader(
        n_examples=120,
        n_features=12,
        dtype="float32",
        labels=LabelNames(classes=("cat", "dog"), attribute="place", attribute_values=("in", "out")),
        digest=f"{seed:064x}",
        checkpoint=checkpoint,
        split=split,
        dataset="d",
    )
    with FeatureWriter(server.root, header) as writer:
        x = (rng.standard_normal((120, 12)) + y[:, None]).astype(np.float32)
        writer.append(features=x, y=y, a=a, row_id=np.arange(120, dtype=np.uint64))
        stored = feature_set_to_proto(writer.finish())
    registry = server.server._registry
    loop = server.server._doors._loop
    asyncio.run_coroutine_threadsafe(registry.run(registry.catalog.add_feature_set, stored), loop).result(WAIT)
    return stored.digest


def checkpoints_at_homes() -> list[str]:
    """Digests of one checkpoint for each worker, the worker's number the place in the list."""
    found: dict[int, str] = {}
    for number in range(100):
        found.setdefault(ranked(f"{number:064x}", N_WORKERS)[0], f"{number:064x}")
    return [found[home] for home in range(N_WORKERS)]


@pytest.fixture(scope="module")
def servers(tmp_path_factory) -> Iterator[tuple[InProcess, InProcess]]:
    """One with three workers and one with one, with the same sets."""
    several = InProcess(tmp_path_factory.mktemp("several"), N_WORKERS)
    try:
        single = InProcess(tmp_path_factory.mktemp("single"), 1)
    except BaseException:
        several.stop()
        raise
    until(lambda: several.is_up() and single.is_up())
    yield several, single
    several.stop()
    single.stop()


@pytest.fixture(scope="module")
def sets(servers) -> list[dict[str, str]]:
    """The sets of three checkpoints, of which each has another worker for its home."""
    made = []
    for home, checkpoint in enumerate(checkpoints_at_homes()):
        seeds = {split: 1 + 10 * home + number for number, split in enumerate(SPLITS)}
        digests = [{split: write_set(one, checkpoint, split, seed) for split, seed in seeds.items()} for one in servers]
        assert digests[0] == digests[1]
        made.append(digests[0])
    return made


@pytest.fixture
def several(servers, sets) -> InProcess:
    """The one with three workers, of which all are up."""
    until(servers[0].is_up)
    return servers[0]


def spectra(client: penult.Client, own: dict[str, str], number: int) -> np.ndarray:
    """Ends of intervals, which do not depend on who asks at the same time."""
    return np.array([one.low for one in client.spectra(own["test"], replicates=2, seed=number).imbalance])


def refit(client: penult.Client, own: dict[str, str], number: int) -> penult.Refit:
    return client.refit(own["train"], l2=0.01 * (1 + number), standardize=False, evaluate={"test": own["test"]})


def test_thirty_clients_of_three_checkpoints(several, servers, sets):
    """All sets of a checkpoint in one worker, none in another, and the bits of one worker's answers."""

    def ask(number: int) -> tuple[np.ndarray, penult.Refit]:
        with penult.local(several.root) as client:
            own = sets[number % N_WORKERS]
            return spectra(client, own, number // N_WORKERS), refit(client, own, number // N_WORKERS)

    with ThreadPoolExecutor(30) as pool:
        found = list(pool.map(ask, range(30)))
    assert several.residents() == [{own["train"], own["test"]} for own in sets]
    assert several.compute._asked_about == [{}] * N_WORKERS
    assert several.compute._queries == several.compute._transfers == [0] * N_WORKERS
    for number, (ends, head) in enumerate(found):
        own = sets[number % N_WORKERS]
        np.testing.assert_array_equal(ends, spectra(servers[1].client, own, number // N_WORKERS))
        # Refits are solved with those that were asked for at the same time, to the same tolerance.
        alone = refit(servers[1].client, own, number // N_WORKERS)
        np.testing.assert_allclose(head.head.weight, alone.head.weight, rtol=1e-4, atol=1e-6)
    # Asked alone they have the same bits, too.
    for own in sets:
        here, there = (refit(one.client, own, 100) for one in (several, servers[1]))
        np.testing.assert_array_equal(here.head.weight, there.head.weight)
        scores = [one.client.evaluate(here, own["val"]).correct for one in (several, servers[1])]
        np.testing.assert_array_equal(*scores)
        angles = [one.client.principal_angles(own["train"], own["val"], groups=(0, 3)) for one in (several, servers[1])]
        np.testing.assert_array_equal(angles[0].angles, angles[1].angles)
    assert several.residents() == [set(own.values()) for own in sets]


def test_what_any_worker_can_do_needs_none_of_them(several, sets):
    """Reading and uploading load nothing; an upload's questions go to its own home, until it is deleted."""
    before = several.residents()
    features = several.client.features.read(sets[0]["train"])
    assert several.residents() == before
    mine = several.client.features.upload(features.features[::-1], features.y[::-1])
    home = ranked(mine.digest, N_WORKERS)[0]
    several.client.refit(mine, l2=0.1, standardize=False)
    assert [mine.digest in one for one in several.residents()] == [number == home for number in range(N_WORKERS)]
    several.client.features.delete(mine.digest)
    until(lambda: not any(mine.digest in one for one in several.residents()))


@contextmanager
def long_refits(server: InProcess, digest: str, n: int) -> Iterator[list[Asked]]:
    """Refits that end only when they are cancelled, which all are at the end."""
    asked = []
    for _ in range(n):
        path = LONG_PATH | {"steps": LONG_PATH["steps"] - next(NUMBERS)}
        one = encode_refits.refit_request({"features": digest, "path": path, "standardize": False})
        asked.append(Asked(server.client, refits_pb2.ComputeRefitsRequest(requests=[one])))
    try:
        yield asked
    finally:
        for one in asked:
            one.call.cancel()
        until(lambda: not any(server.compute._queries))


def test_the_death_of_one_costs_its_queries_alone(several, sets):
    def ask(home: int, number: int) -> ErrorKind | None:
        with penult.local(several.root) as client:
            try:
                client.refit(sets[home]["train"], l2=1.0 + number, standardize=False)
            except penult.PenultError as error:
                return ErrorKind(error.kind)
        return None

    dead, second, third = ranked(checkpoints_at_homes()[0], N_WORKERS)
    with (
        long_refits(several, sets[dead]["train"], 1) as (dying,),
        long_refits(several, sets[third]["train"], 1) as (undisturbed,),
    ):
        dying.watch().until("following paths")
        undisturbed.watch().until("following paths")
        old = several.pid(dead)
        os.kill(old, signal.SIGKILL)
        assert next(dying.call).failure.kind == ErrorKind.WORKER_DIED
        # Whoever asks meanwhile is answered by its second choice, or by the next worker of that number.
        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(ask, [dead, second] * 4, range(8))) == [None] * 8
        assert not undisturbed.call.done()
    until(lambda: several.compute.workers[dead].is_up)
    assert several.pid(dead) != old
    several.client.refit(sets[dead]["val"], l2=0.5, standardize=False)
    assert sets[dead]["val"] in several.residents()[dead]
    assert several.client.info().compute_workers[dead].is_up


@pytest.mark.slow
def test_workers_die_at_any_time(several, sets):
    """For a minute; each answer is right, or its caller is told, and in the end everything is at home again."""
    rng, end, over = np.random.default_rng(0), time.monotonic() + 60, threading.Event()
    told: list[str] = []

    def ask(number: int) -> int:
        n_answers = 0
        with penult.local(several.root) as client:
            while not over.is_set():
                try:
                    asked = client.refit(
                        sets[number % N_WORKERS]["train"], l2=10 + next(NUMBERS), standardize=False, timeout=WAIT
                    )
                    assert asked.certificate.converged
                    n_answers += 1
                except penult.PenultError as error:
                    told.append(error.kind)
        return n_answers

    n_deaths = 0
    with ThreadPoolExecutor(9) as pool:
        asking = [pool.submit(ask, number) for number in range(9)]
        try:
            while time.monotonic() < end:
                number = int(rng.integers(N_WORKERS))
                until(lambda number=number: several.compute.workers[number].is_up)
                over.wait(rng.uniform(0, 2))
                with suppress(ProcessLookupError):
                    os.kill(several.pid(number), signal.SIGKILL)
                    n_deaths += 1
        finally:
            over.set()
        answers = [one.result() for one in asking]
    assert set(told) <= {ErrorKind.WORKER_DIED}
    assert min(answers) > 0
    assert n_deaths > 5
    until(several.is_up)
    for home, own in enumerate(sets):
        several.client.refit(own["test"], l2=10 + next(NUMBERS), standardize=False)
        assert own["test"] in several.residents()[home]
    assert several.compute._queries == [0] * N_WORKERS


def test_a_crowd_sends_the_next_checkpoint_to_its_second_choice(several, sets):
    key = next(key for number in range(100, 200) if ranked(key := f"{number:064x}", N_WORKERS)[:2] == [1, 2])
    digest = write_set(several, key, "train", 1000)
    with long_refits(several, sets[1]["train"], MOST_WAITING + 2):
        until(lambda: several.compute.standings()[1].n_waiting > MOST_WAITING)
        several.client.refit(digest, l2=0.1, standardize=False)
        assert [digest in one for one in several.residents()] == [False, False, True]
        # A checkpoint whose set is there stays.
        assert several.compute.standings([sets[1]["train"]])[1].n_held == 1
    several.client.refit(digest, l2=0.2, standardize=False)
    assert [digest in one for one in several.residents()] == [False, True, True]


@pytest.mark.parametrize("home", range(N_WORKERS))
def test_a_query_is_watched_and_cancelled_wherever_it_is(several, sets, home):
    with long_refits(several, sets[home]["train"], 1) as (asked,):
        asked.watch().until("following paths")
        assert several.compute._queries == [int(number == home) for number in range(N_WORKERS)]
        asked.call.cancel()
        until(lambda: not any(several.compute._queries))
    several.client.refit(sets[home]["test"], l2=0.3 + home, standardize=False, timeout=WAIT)


def test_it_is_told_how_many_are_up(several):
    said = {one.topic: one.said for one in examine(root=several.root).findings}
    assert "on cpu (numpy, 3 of 3 compute workers up)" in said["server"]
    with urllib.request.urlopen(f"http://{several.server.metrics_address}/metrics", timeout=WAIT) as page:
        lines = [line.split() for line in page.read().decode().splitlines()]
    share = several.server._settings.resident_bytes // N_WORKERS
    for number in range(N_WORKERS):
        assert [f'penult_compute_up{{worker="{number}"}}', "1.0"] in lines
        (budget,) = (line[1] for line in lines if line[0] == f'penult_budget_bytes{{worker="{number}"}}')
        assert float(budget) == share
    with urllib.request.urlopen(f"http://{several.server.metrics_address}/healthz", timeout=WAIT) as page:
        assert page.read().decode().count("compute worker") == N_WORKERS


# Devices


async def nothing(is_alive: bool) -> None:
    return


def test_workers_of_another_device_than_the_first_are_not_used(tmp_path):
    async def run() -> None:
        pool = ComputeWorkers(Settings(root=tmp_path, compute_workers=3), Registry(), nothing)
        later = [asyncio.create_task(pool._accept(number, ComputeReady(device=f"H{number}00"))) for number in (1, 2)]
        await asyncio.sleep(0)
        assert not any(one.done() for one in later), "the first decides"
        assert await pool._accept(0, ComputeReady(device="H200")) is None
        refused, taken = [await one for one in later]
        assert taken is None
        assert refused is not None
        assert "compute worker 1 has a H100, the others a H200" in refused.message
        assert await pool._accept(0, ComputeReady(device="H200")) is None

    asyncio.run(run())


def test_where_the_first_does_not_start_another_decides(tmp_path):
    async def run() -> None:
        pool = ComputeWorkers(Settings(root=tmp_path, compute_workers=2), Registry(), nothing)
        second = asyncio.create_task(pool._accept(1, ComputeReady(device="H100")))
        await asyncio.sleep(0)
        await pool._note_health(0, False)
        assert await second is None
        assert await pool._accept(0, ComputeReady(device="H200")) is not None

    asyncio.run(run())


def test_some_worker_that_answers_is_health(tmp_path):
    async def run() -> None:
        said: list[bool] = []

        async def note(is_alive: bool) -> None:
            said.append(is_alive)

        pool = ComputeWorkers(Settings(root=tmp_path, compute_workers=2), Registry(), note)
        for number, is_alive in ((0, True), (1, True), (0, False), (1, False), (1, False), (0, True)):
            await pool._note_health(number, is_alive)
        assert said == [True, False, True]

    asyncio.run(run())
