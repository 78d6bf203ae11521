"""A database that is killed under a job, and a bucket that answers nobody for ten seconds: the job ends once, with the
bits of an undisturbed one. `pytest -m slow tests/e2e/test_outages.py`.
"""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto_s3 import CREDENTIALS, MotoS3, Outage, stripping
from postgres_server import Postgres, started

from penult_proto.v1 import jobs_pb2

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SECONDS = 10.0


@pytest.fixture(scope="module")
def mortal() -> Iterator[Postgres]:
    """A server to be killed, which flushes what it commits."""
    yield from started(fsync=True)


@pytest.fixture(scope="module")
def s3() -> Iterator[MotoS3]:
    server = MotoS3()
    yield server
    server.stop()


def after(job, what: str, act) -> None:
    """Do something as soon as a job has said so much."""
    request = jobs_pb2.WatchJobRequest(id=job.id)
    with job._connection.stream(job._connection.stubs.jobs.WatchJob, request, timeout=600) as events:
        next(event for event in events if event.HasField(what))
    act()


def test_a_job_goes_on_when_its_database_and_its_bucket_do(client, serve, mortal, s3, table, tiny, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    training = {"dataset": "shapes", "epochs": 4, "evaluate": ["val"], **tiny}
    client.datasets.register("shapes", table)
    expected = client.finetune(**training).wait()
    sets = client.extract(expected.checkpoints[-1]).wait()
    outage = Outage()
    with stripping(s3.address, outage=outage) as endpoint:
        ways = ("--registry", mortal.database(), "--store", s3.bucket(), "--store-endpoint", endpoint)
        server = serve(None, *ways)
        with server.connect() as here:
            here.datasets.register("shapes", table)
            job = here.finetune(**training)

            def restart() -> None:
                mortal.kill()
                time.sleep(1.0)
                mortal.start()

            after(job, "metrics", restart)
            run = job.wait()
            assert here.jobs.get(job.id).attempt == 1
            assert [one.digest for one in run.checkpoints] == [one.digest for one in expected.checkpoints]
            assert len(run.history) == len(expected.history)
            job = here.extract(run.checkpoints[-1])
            ends = threading.Timer(SECONDS, outage.end)

            def begin() -> None:
                outage.begin()
                ends.start()

            after(job, "progress", begin)
            found = job.wait()
            ends.join()
            assert outage.n_refused > 0
            assert here.jobs.get(job.id).attempt == 1
            assert {name: files(server.root, one) for name, one in found.items()} == {
                name: files(Path(client.info().root), one) for name, one in sets.items()
            }
            assert len(here.jobs.list(states=["succeeded"])) == 3
        server.stop()


def files(root: Path, features) -> dict:
    """Digests of a set's files: rows, labels, moments."""
    return json.loads((root / "features" / features.digest / "manifest.json").read_text(encoding="utf-8"))["files"]
