"""Processes are killed; what was confirmed is still there, and what was started is finished."""

import os
import select
import signal
import threading
from dataclasses import replace

import numpy as np
import pytest
from server_processes import processes, until

import penult
import penult.wire.transfer
from penult_proto.v1 import cards_pb2, jobs_pb2
from penult_server.jobs.worker import NICENESS


def events_until(job, wanted: str):
    """Follow a job's events until one of this kind has come."""
    request = jobs_pb2.WatchJobRequest(id=job.id)
    connection = job._connection
    with connection.stream(connection.stubs.jobs.WatchJob, request, timeout=120) as events:
        for event in events:
            if event.WhichOneof("kind") == wanted:
                return event
    raise AssertionError(f"the job ended without an event of kind {wanted}")


@pytest.fixture(scope="module")
def lasting(serve_for_a_file, table):
    """A server that outlives what is done to its workers, and knows the small images."""
    server = serve_for_a_file()
    with server.connect() as client:
        client.datasets.register("shapes", table)
    return server


def without_saving(spec: penult.FinetuneSpec) -> dict:
    """The arguments of the same run, whose state is saved by time."""
    return spec.arguments() | {"record": replace(spec.record, save_every=0)}


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((300, 16)).astype(np.float32)
    return {"features": features, "y": np.repeat([0, 1], 150), "a": np.tile([0, 1], 150)}


def test_kill_9_of_the_server_loses_nothing_and_jobs_are_finished(serve, table, tiny, arrays):
    server = serve()
    client = server.connect()
    mine = client.features.upload(**arrays, name="mine")
    spectra = client.spectra(mine)
    refit = client.refit(mine, preset="dfr_l2")
    client.datasets.register("shapes", table)
    job = client.finetune(dataset="shapes", epochs=3, record=penult.Record(save_every=2), **tiny)
    events_until(job, "metrics")
    server.kill()
    client.close()

    server = serve()
    with server.connect() as client:
        assert [one.digest for one in client.features.list()] == [mine.digest]
        np.testing.assert_array_equal(client.features.read("mine").features, arrays["features"])
        again = client.spectra("mine")
        assert again.reused
        np.testing.assert_array_equal(again.eigenvalues, spectra.eigenvalues)
        assert client.refit("mine", preset="dfr_l2").digest == refit.digest
        same = client.finetune(dataset="shapes", epochs=3, record=penult.Record(save_every=2), **tiny)
        assert same.id == job.id
        run = same.wait()
        assert same.attempt == 2
        manifest = client.runs.manifest(run)
        # It went on where it was, at the first epoch's end or later, and has nothing left to go on from.
        assert len(manifest.resumed_at) == 1
        assert manifest.resumed_at[0] >= run.steps_per_epoch - 1
        assert {path.name for path in (server.root / "runs" / run.id).iterdir()} == {"manifest.json", "record.json"}
        # Undisturbed; another request only in when it is saved.
        expected = client.finetune(**without_saving(manifest.spec)).wait()
        assert expected.id != run.id
    assert [one.digest for one in run.checkpoints] == [one.digest for one in expected.checkpoints]
    assert [one.metrics.correct.tolist() for one in run.history] == [
        one.metrics.correct.tolist() for one in expected.history
    ]


def test_jobs_give_way_and_no_process_outlives_a_killed_server(serve, table, tiny):
    server = serve()
    client = server.connect()
    client.datasets.register("shapes", table)
    events_until(client.finetune(dataset="shapes", epochs=500, **tiny), "progress")
    found = processes(server)
    assert {kind: len(pids) for kind, pids in found.items()} == {"compute": 1, "forker": 1, "jobs": 1}
    # Where cores are short, a training gives way to queries.
    niceness = {kind: os.getpriority(os.PRIO_PROCESS, pid) for kind, (pid,) in found.items()}
    assert niceness["jobs"] == min(19, niceness["compute"] + NICENESS)
    watched = [os.pidfd_open(pid) for (pid,) in found.values()]
    server.kill()
    client.close()
    for descriptor in watched:
        # Readable when the process has ended.
        assert select.select([descriptor], [], [], 100)[0]
        os.close(descriptor)


def test_a_dead_compute_worker_is_replaced(lasting, arrays):
    with lasting.connect() as client:
        mine = client.features.upload(**arrays)
        first = client.spectra(mine, top_k=3)
        (compute,) = processes(lasting)["compute"]
        os.kill(compute, signal.SIGKILL)
        # The call that meets the dead worker may be told so; the next one waits for the new worker.
        refusals = []
        for top_k in (4, 5):
            try:
                second = client.spectra(mine, top_k=top_k)
            except penult.Unavailable as error:
                refusals.append(error)
        assert len(refusals) <= 1
        assert all(error.kind == "worker_died" and error.retryable for error in refusals)
        np.testing.assert_allclose(second.eigenvalues[:, :3], first.eigenvalues)


def test_a_job_whose_worker_dies_is_tried_again_and_given_up_in_the_end(lasting, tiny):
    with lasting.connect() as client:
        job = client.finetune(dataset="shapes", epochs=2000, **tiny)
        killed = 0
        request = jobs_pb2.WatchJobRequest(id=job.id)
        connection = job._connection
        with connection.stream(connection.stubs.jobs.WatchJob, request, timeout=200) as events:
            attempts = set()
            for event in events:
                if event.WhichOneof("kind") == "progress" and job.refresh().attempt not in attempts:
                    attempts.add(job.attempt)
                    for pid in processes(lasting)["jobs"]:
                        os.kill(pid, signal.SIGKILL)
                    killed += 1
        assert killed == 3
        with pytest.raises(penult.PenultError) as raised:
            job.wait()
        assert raised.value.kind == "worker_died"
        assert (
            client.finetune(dataset="shapes", epochs=0, backbone="test_resnet", pretrained=False)
            .wait()
            .checkpoints[0]
            .epoch
            == 0
        )


def test_kill_9_of_a_worker_costs_the_steps_since_the_last_saving(lasting, tiny):
    with lasting.connect() as client:
        job = client.finetune(dataset="shapes", epochs=6, record=penult.Record(save_every=1), evaluate=["val"], **tiny)
        events_until(job, "metrics")
        for pid in processes(lasting)["jobs"]:
            os.kill(pid, signal.SIGKILL)
        run = job.wait()
        manifest = client.runs.manifest(run.id)
        assert (job.attempt, len(manifest.resumed_at)) == (2, 1)
        assert 0 < manifest.resumed_at[0] < 6 * run.steps_per_epoch
        expected = client.finetune(**without_saving(manifest.spec)).wait()
    assert [one.digest for one in run.checkpoints] == [one.digest for one in expected.checkpoints]


def test_a_job_whose_worker_stands_still_goes_on_in_another_one(lasting, tiny):
    with lasting.connect() as client:
        # Of another seed than the run of the test before, which would be the answer.
        saving = penult.Record(save_every=1)
        job = client.finetune(dataset="shapes", epochs=6, record=saving, evaluate=["val"], seed=2, **tiny)
        events_until(job, "metrics")
        for pid in processes(lasting)["jobs"]:
            os.kill(pid, signal.SIGSTOP)
        job.wait()
        assert job.attempt == 2
    assert "hangs: it has not answered for 5 s, and does not compute; it is ended" in lasting.log()


def test_a_cancelled_job_stops_and_says_so(lasting, tiny):
    with lasting.connect() as client:
        job = client.finetune(dataset="shapes", epochs=5000, **tiny)
        waiting = client.finetune(dataset="shapes", epochs=5000, seed=1, **tiny)
        events_until(job, "progress")
        waiting.cancel()
        job.cancel()
        for one in (job, waiting):
            with pytest.raises(penult.Cancelled):
                one.wait(timeout=60)
        # The work can be asked for again: a cancelled job is not an answer.
        again = client.finetune(dataset="shapes", epochs=5000, **tiny)
        assert again.id != job.id
        again.cancel()


def test_a_torn_upload_leaves_nothing(lasting, arrays):
    with lasting.connect() as client:
        client.features.upload(**arrays, name="whole")
        before = {one.digest: one.names for one in client.features.list()}
        upload, card = penult.wire.uploads.prepare(**arrays), cards_pb2.Card(name="torn")
        messages = list(penult.wire.transfer.upload_messages(upload, card, 1000))
        with pytest.raises(penult.InvalidRequest) as raised:
            client.connection.upload(client.connection.stubs.upload_features, lambda: iter(messages[:-1]), timeout=30)
        assert raised.value.kind == "incomplete_upload"
        assert {one.digest: one.names for one in client.features.list()} == before
        assert {path.name for path in (lasting.root / "features").iterdir()} == set(before)


def test_an_upload_that_its_client_leaves_is_no_error_of_the_worker(lasting, arrays):
    features = lasting.root / "features"
    with lasting.connect() as client:
        client.features.upload(**arrays, name="whole")
        before = len(list(features.iterdir()))
        upload, card = penult.wire.uploads.prepare(**arrays), cards_pb2.Card(name="left")
        messages = list(penult.wire.transfer.upload_messages(upload, card, 1000))
        has_begun = threading.Event()

        def requests():
            yield from messages[:-1]
            has_begun.wait(60)

        call = client.connection.stubs.upload_features.future(requests(), metadata=client.connection._numbered())
        until(lambda: len(list(features.iterdir())) == before + 1)
        call.cancel()
        has_begun.set()
        until(lambda: len(list(features.iterdir())) == before)
        # More than was asked for before: the worker itself has to answer.
        client.spectra("whole", top_k=9)
    assert "unexpected" not in (lasting.root / "logs" / "compute.log").read_text()


def test_asking_again_mends_what_was_damaged(lasting, tiny):
    with lasting.connect() as client:
        run = client.finetune(dataset="shapes", epochs=0, backbone="test_resnet", pretrained=False).wait()
        val = client.extract(run.checkpoints[0], splits=["val"]).wait()["val"]
        before = client.features.read(val)
        chunk = lasting.root / "features" / val.digest / "features" / "c" / "0" / "0"
        content = bytearray(chunk.read_bytes())
        content[10] ^= 1
        chunk.write_bytes(content)
        with pytest.raises(penult.StoreCorrupt):
            client.features.read(val)
        again = client.extract(run.checkpoints[0], splits=["val"]).wait()["val"]
        assert again.digest == val.digest
        np.testing.assert_array_equal(client.features.read(again).features, before.features)
