"""Limits of the machine, met on purpose: each has a kind of its own, and afterwards all is as before.

The limits of running processes are changed from outside, so that no disk has to be filled or broken.
"""

import os
import resource
import threading
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import pytest
from server_processes import processes

import penult
from penult.connection import patience
from penult_proto.v1 import jobs_pb2


@contextmanager
def limited(pid: int, what: int, limit: int) -> Generator[None]:
    """A process of which a resource is limited."""
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (limit, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, what, before)


def first_free_file(pid: int) -> int:
    """A limit of open files with which a process opens no other."""
    taken = {int(one) for one in os.listdir(f"/proc/{pid}/fd")}
    return min(set(range(len(taken) + 1)) - taken)


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    return {"features": rng.standard_normal((4000, 64)).astype(np.float32), "y": np.arange(4000) % 2}


def kind_of(call) -> str:
    with pytest.raises(penult.PenultError) as raised:
        call()
    return raised.value.kind


def first_progress(job: penult.Job) -> None:
    """Wait until a job trains."""
    connection = job._connection
    request = jobs_pb2.WatchJobRequest(id=job.id)
    with connection.stream(connection.stubs.jobs.WatchJob, request, timeout=120) as events:
        assert any(event.WhichOneof("kind") == "progress" and "epoch" in event.progress.stage for event in events)


def test_a_store_that_cannot_be_written_to_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "store" / "server.log").mkdir(parents=True)  # as on a disk that is only read
    for root in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "store"):
        with pytest.raises(penult.InvalidRequest, match="root must be a directory"):
            penult.local(root)


def test_limits_are_kinds_of_their_own_and_a_signal_ends_what_hangs(serve, table, tiny, arrays, tmp_path, monkeypatch):
    # Neither may be too long for the socket between the processes.
    long = tmp_path / ("t" * 120)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    server = serve(tmp_path / ("d" * 150) / ("r" * 150), "--job-devices", "0,1")
    front = server.process.pid
    client = server.connect()
    mine = client.features.upload(features=arrays["features"][:200], y=arrays["y"][:200], name="mine")
    (compute,) = processes(server)["compute"]

    def upload() -> penult.FeatureSet:
        return client.features.upload(**arrays)

    with limited(compute, resource.RLIMIT_FSIZE, 100_000):
        assert kind_of(upload) == "too_large"
    # The client would ask again, as long as it may; at once it is told so however slow this machine is.
    monkeypatch.setattr(patience.Patience, "outlasts", lambda self, failure: False)
    with limited(compute, resource.RLIMIT_NOFILE, first_free_file(compute)):
        assert kind_of(upload) == "busy"
        assert kind_of(lambda: client.spectra("mine")) == "busy"
        assert kind_of(lambda: client.features.read("mine")) == "busy"
    with limited(front, resource.RLIMIT_FSIZE, 4096):
        assert kind_of(lambda: client.refit("mine", l2=0.1)) == "disk_failed"
        assert kind_of(lambda: client.datasets.register("shapes", table)) == "disk_failed"
        assert [one.digest for one in client.features.list()] == [mine.digest]
    assert client.refit("mine", l2=0.1).n_rows
    client.spectra("mine")
    upload()

    # Two jobs run at once, for there are two devices; the disk refuses the training state of one.
    client.datasets.register("shapes", table)
    recipe = {"dataset": "shapes", "evaluate": ["val"], **tiny}
    failing = client.finetune(epochs=3000, record=penult.Record(save_every=1), **recipe)
    first_progress(failing)
    while not failing.refresh()._message.saved:
        os.sched_yield()
    for pid in processes(server)["jobs"]:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (100_000, -1))
    other = client.finetune(epochs=3000, seed=1, **recipe)
    first_progress(other)
    assert kind_of(failing.wait) == "too_large"
    assert "training state is kept" in failing.refresh().error.message
    assert other.refresh().state == "running"

    # Threads that open a pipe which nobody writes to wait for ever; the server leaves all the same.
    os.mkfifo(tmp_path / "fifo")

    def hang() -> None:
        with pytest.raises(penult.PenultError):
            client.finetune(epochs=0, weights=str(tmp_path / "fifo"), **(recipe | {"pretrained": None}))

    threads = [threading.Thread(target=hang, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    server.process.terminate()
    assert server.process.wait(timeout=100) == 0
    client.close()
    for thread in threads:
        thread.join()
