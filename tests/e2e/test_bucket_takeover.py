"""A machine is cut off and another, with an empty disk, goes on from the bucket: bit for bit, and the first publishes
nothing more.

Two servers with workers of their own: `pytest -m slow tests/e2e/test_bucket_takeover.py`. The parts of it are tested in
`tests/server/test_bucket_copies.py`.
"""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from moto_s3 import CREDENTIALS, MotoS3
from postgres_server import Postgres, name_of
from running_server import RunningServer

import penult
from penult_proto.v1 import jobs_pb2
from penult_server.stores.places.bucket.entries import decoded
from penult_server.stores.places.opening import store_of
from penult_server.stores.training_states import has_state, state_file
from penult_server.upkeep.verify import verify_store


@pytest.fixture(scope="module")
def s3() -> Iterator[MotoS3]:
    server = MotoS3()
    yield server
    server.stop()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_another_machine_goes_on_from_the_bucket_and_a_zombie_publishes_nothing(
    postgres: Postgres, postgres_url: str, s3: MotoS3, tmp_path: Path, table: Path, tiny: dict, monkeypatch
):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    ways = ("--registry", postgres_url, "--lease-seconds", "2")
    options = (*ways, "--store", s3.bucket(), "--store-endpoint", s3.endpoint)
    training = {"dataset": "shapes", "epochs": 4, "evaluate": ["val"], "record": penult.Record(save_every=1000), **tiny}
    servers = [first := RunningServer(tmp_path / "first", *options)]
    try:
        with first.connect() as client:
            client.datasets.register("shapes", table)
            job = client.finetune(**training)
            request = jobs_pb2.WatchJobRequest(id=job.id)
            with job._connection.stream(job._connection.stubs.jobs.WatchJob, request, timeout=120) as events:
                n_measured = (one.HasField("metrics") for one in events)
                assert [next(one for one in n_measured if one) for _ in range(2)]
        assert has_state(first.root, job.id)
        # The front stands still and loses its registry; its worker trains on, up to its next commit.
        first.process.send_signal(signal.SIGSTOP)
        until(lambda: unpublished(first.root) or state_file(first.root, job.id).exists())
        waiting = unpublished(first.root)
        postgres.ask(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name_of(postgres_url)}'"
        )
        servers.append(second := RunningServer(tmp_path / "second", *options))
        waiting &= unpublished(first.root)  # without what was allowed just before the front stood still
        assert waiting or state_file(first.root, job.id).exists()
        with second.connect() as client:
            run = client.jobs.get(job.id).wait()
            assert client.jobs.get(job.id).attempt == 2
            assert client.runs.manifest(job.id).resumed_at[0] > 0
            found = [one.digest for one in run.checkpoints], [one.epoch for one in run.history]
            first.process.send_signal(signal.SIGCONT)
            first.process.wait(timeout=100)
            assert not waiting & {one.attempt for one in published(second.root)}, "the zombie's commit was not made"
            assert not has_state(second.root, job.id)
            assert verify_store(second.root).damages == []
            # Deleted and made again, undisturbed, it is the same.
            client.runs.delete(run, dependents=True)
            assert not published_now(second.root)
            run = client.finetune(**training).wait()
            assert client.runs.manifest(run.id).resumed_at == ()
            assert ([one.digest for one in run.checkpoints], [one.epoch for one in run.history]) == found
    finally:
        for server in servers:
            with contextlib.suppress(ProcessLookupError):
                server.kill()


def published(root: Path) -> list:
    """The entries of checkpoints."""
    bucket = store_of(root).bucket
    return [decoded(bucket.get(one.key)[0]) for one in bucket.listed("manifests/checkpoints/")]


def published_now(root: Path) -> list:
    """Those of checkpoints that were not deleted."""
    return [one for one in published(root) if not one.removed]


def unpublished(root: Path) -> set[str]:
    """The attempts at checkpoints that were not committed."""
    staged = {one.key.split("/")[2] for one in store_of(root).bucket.listed("data/checkpoints/")}
    return staged - {one.attempt for one in published(root)}
