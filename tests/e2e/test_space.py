"""What a store takes: usage against an independent count, deletions on a full disk and through kills, kept runs."""

import os
import re
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from server_processes import processes
from test_crashes import events_until

import penult
from penult_proto.v1 import jobs_pb2, storage_pb2

ARRAYS = {"y": np.repeat([0, 1], 50), "a": np.tile([0, 1], 50)}


def features(seed: int, width: int = 16) -> dict:
    return ARRAYS | {"features": np.random.default_rng(seed).standard_normal((100, width)).astype(np.float32)}


def counted(root: Path) -> int:
    """Bytes of all files, each once however many links it has; by find and sort."""
    found = subprocess.run(["find", root, "-type", "f", "-printf", "%D:%i %s\n"], capture_output=True, text=True)
    return sum(int(line.split()[1]) for line in set(found.stdout.splitlines()))


def below(root: Path, *parts: str) -> int:
    return counted(root.joinpath(*parts))


@pytest.fixture
def mount(tmp_path):
    """A small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", place], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"only root can mount a small disk: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_usage_is_what_is_on_the_disk(serve, table, tiny):
    server = serve()
    root = server.root
    with server.connect() as client:
        client.datasets.register("shapes", table)
        asked = {"dataset": "shapes", "epochs": 1, "evaluate": ["val"], **tiny}
        first = client.finetune(**asked).wait()
        second = client.finetune(**asked | {"optimizer": penult.AdamW(learning_rate=0.1)}).wait()
        sets = client.extract(first.checkpoints[1]).wait()
        mine = client.features.upload(**features(0), name="mine")
        client.refit(mine, preset="erm")
        (root / "checkpoints" / ".staging-left").mkdir()
        (root / "checkpoints" / ".staging-left" / "half").write_bytes(b"x" * 1000)
        (root / "features" / ("0" * 64)).mkdir()
        (root / "features" / ("0" * 64) / "nobody").write_bytes(b"x" * 500)
        (root / "notes.txt").write_text("mine")
        os.link(root / "notes.txt", root / "again.txt")
        usage = client.usage()
        # The registry's files and the log grow while they are looked at: what is measured is the same moment's.
        assert abs(usage.bytes - counted(root)) <= 64 * 1024
        assert sum(one.bytes for one in usage.kinds) == usage.bytes
        checkpoints = below(root, "checkpoints") - 1000
        assert usage.of("checkpoints") == checkpoints
        assert usage.of("features") == below(root, "features") - 500
        assert usage.of("leftovers") == 1500
        assert usage.of("datasets") == below(root, "datasets")
        assert usage.of("runs") == below(root, "runs")
        counts = {one.kind: one.count for one in usage.kinds}
        assert (counts["checkpoints"], counts["features"], counts["runs"]) == (3, 4, 2)
        assert usage.of("training states") == 0
        by_run = {one.run: one for one in usage.runs}
        begin, end = (below(root, "checkpoints", one.digest) for one in first.checkpoints)
        assert by_run[first.id].checkpoint_bytes == begin + end
        assert by_run[first.id].feature_bytes == sum(below(root, "features", one.digest) for one in sets.values())
        assert (by_run[first.id].dataset, by_run[first.id].finished, by_run[first.id].n_checkpoints) == (
            "shapes",
            True,
            2,
        )
        # What both have stored counts for the older one.
        assert by_run[second.id].checkpoint_bytes == below(root, "checkpoints", second.checkpoints[1].digest)
        assert by_run[second.id].feature_bytes == 0
        assert sum(one.bytes for one in usage.users) == sum(
            usage.of(kind) for kind in ("checkpoints", "features", "datasets", "runs")
        )
        assert 0 < usage.free_bytes <= usage.disk_bytes
        assert usage.root == str(root)
        text = repr(usage)
        assert first.id in text
        assert "checkpoints" in text
        table_ = usage.to_frame()
        assert table_[table_["of"] == "kind"]["bytes"].sum() == usage.bytes

        # A training state, while there is one.
        long = client.finetune(**asked | {"epochs": 5000, "record": penult.Record(save_every=2), "seed": 4})
        events_until(long, "checkpoint")
        until = time.monotonic() + 60
        while not (usage := client.usage()).of("training states"):
            assert time.monotonic() < until
        (running,) = [one for one in usage.runs if one.run == long.id]
        assert running.training_state_bytes == usage.of("training states") > 0
        assert not running.finished
        long.cancel()


def fill_up(place: Path) -> None:
    """Take the last bytes of a disk."""
    for block in (2**20, 4096):
        with (place / "ballast").open("ab", buffering=0) as file:
            try:
                while file.write(b"\0" * block) == block:
                    pass
            except OSError:
                continue
    free = os.statvfs(place)
    assert free.f_bavail == 0


def test_deleting_works_on_a_full_disk(serve, mount):
    server = serve(mount / "store")
    with server.connect() as client:
        kept = client.features.upload(**features(0), name="kept")
        refit = client.refit(kept, preset="erm")
        sets = [client.features.upload(**features(seed, 2000)) for seed in range(1, 20)]
        fill_up(mount)
        with pytest.raises(penult.Busy) as caught:
            client.features.upload(**features(99))
        assert caught.value.kind == "disk_full"
        said = client.features.delete(sets[0], dry_run=True)
        done = client.features.delete(sets[0])
        assert done.bytes == said.bytes > 800_000
        assert not (server.root / "features" / sets[0].digest).exists()
        fill_up(mount)
        # The space kept back was taken again before the disk was full once more.
        for one in sets[1:4]:
            client.features.delete(one)
            fill_up(mount)
        assert [one.digest for one in client.features.list()] == [one.digest for one in [*sets[:3:-1], kept]]
        assert client.results.delete(refit).goes[0].id == refit.digest
        server.kill()
    (mount / "ballast").unlink()
    server = serve(mount / "store")
    with server.connect() as client:
        there = {one.digest for one in client.features.list()}
        assert there == {kept.digest, *(one.digest for one in sets[4:])}
        assert {path.name for path in (server.root / "features").iterdir()} == there
        client.features.upload(**features(99))
    server.stop()


def test_a_kill_while_things_are_deleted_leaves_what_is_listed(serve):
    server = serve()
    client = server.connect()
    sets = [client.features.upload(**features(seed)) for seed in range(40)]
    spare = [one.digest for one in sets[20:]]
    stub, metadata = client.connection.stubs.storage, client.connection._metadata
    requests = [storage_pb2.DeleteRequest(kind=storage_pb2.STORED_KIND_FEATURES, id=one.digest) for one in sets[:20]]
    calls = [stub.Delete.future(request, metadata=metadata) for request in requests]
    calls[3].result(timeout=60)
    server.kill()
    confirmed = {one.digest for one, call in zip(sets, calls, strict=False) if call.done() and call.exception() is None}
    client.close()
    server = serve()
    with server.connect() as client:
        there = {one.digest for one in client.features.list()}
        assert set(spare) <= there
        assert not confirmed & there
        assert {path.name for path in (server.root / "features").iterdir()} == there
        for one in client.features.list():
            client.features.read(one)


def resident(pid: int) -> int:
    """Bytes of a process in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


def test_the_memory_of_a_deleted_set_is_given_back(serve):
    server = serve()
    with server.connect() as client:
        client.refit(client.features.upload(**features(0)), preset="erm")
        (worker,) = processes(server)["compute"]
        wide = ARRAYS | {"features": np.random.default_rng(1).random((100, 200_000), dtype=np.float32)}
        large = client.features.upload(**wide)
        client.evaluate(penult.Head(weight=np.zeros((2, 200_000)), bias=np.zeros(2)), large)
        before = resident(worker)
        client.features.delete(large)
        until = time.monotonic() + 60
        while resident(worker) > before - 60e6:
            assert time.monotonic() < until
            client.info()


def test_kept_checkpoints(serve, table, tiny):
    server = serve(None, "--max-running-jobs", "2")
    with server.connect() as client:
        client.datasets.register("shapes", table)
        asked = {"dataset": "shapes", "epochs": 4, "evaluate": ["val"], **tiny}
        every = client.finetune(**asked).wait()
        assert every.spec.record.keep == "all"
        assert client.finetune(**asked, record=penult.Record(keep="all")).id == every.id
        digests = [one.digest for one in every.checkpoints]

        # Another policy is another run: the same numbers, and only what it keeps in its record.
        last = client.finetune(**asked, record=penult.Record(keep="last")).wait()
        assert last.id != every.id
        assert client.finetune(**last.spec.arguments()).id == last.id
        assert [one.digest for one in last.checkpoints] == digests[-1:]
        assert last.spec.record.keep == "last"
        # What the first run has stored is still there.
        assert client.runs.get(every).checkpoints == every.checkpoints
        assert {path.name for path in (server.root / "checkpoints").iterdir()} == set(digests)
        gone = client.runs.delete(every)
        assert {one.id for one in gone.stays if one.kind == "checkpoint"} == {digests[-1]}
        assert {path.name for path in (server.root / "checkpoints").iterdir()} == {digests[-1]}
        client.runs.delete(last)

        best = client.finetune(**asked, record=penult.Record(keep="best")).wait()
        scores = [one.metrics.worst_group_accuracy for one in every.history]
        assert [one.digest for one in best.checkpoints] == [digests[1 + int(np.argmax(scores))]]
        second = client.finetune(**asked, record=penult.Record(keep=2)).wait()
        assert [one.digest for one in second.checkpoints] == digests[::2]
        assert {path.name for path in (server.root / "checkpoints").iterdir()} == {
            *digests[::2],
            best.checkpoints[0].digest,
        }
        with pytest.raises(penult.InvalidRequest, match="keep"):
            client.finetune(**asked | {"evaluate": ["test"]}, record=penult.Record(keep="best"))
        with pytest.raises(penult.InvalidRequest, match=r"Record\(keep=...\) has no effect"):
            client.finetune(
                dataset="shapes",
                backbone=tiny["backbone"],
                pretrained=False,
                epochs=0,
                record=penult.Record(keep="last"),
            )
        for wrong in ("first", 0, 1.5, True):
            with pytest.raises(penult.InvalidRequest, match="keep"):
                client.finetune(**asked, record=penult.Record(keep=wrong))


def stored(job, n: int) -> list[str]:
    """Digests of the first `n` checkpoints that a job stores, when it has."""
    connection, found = job._connection, []
    request = jobs_pb2.WatchJobRequest(id=job.id)
    with connection.stream(connection.stubs.jobs.WatchJob, request, timeout=120) as events:
        for event in events:
            found += [event.checkpoint] if event.HasField("checkpoint") else []
            if len(found) == n:
                return found
    raise AssertionError(f"the job ended after {len(found)} checkpoints")


def there(root: Path) -> set[str]:
    return {path.name for path in (root / "checkpoints").iterdir() if not path.name.startswith(".")}


def test_a_run_that_goes_on_holds_no_more_than_it_needs(serve, table, tiny):
    server = serve()
    with server.connect() as client:
        client.datasets.register("shapes", table)
        job = client.finetune(
            dataset="shapes", evaluate=["val"], record=penult.Record(keep="last"), **tiny | {"epochs": 5000}
        )
        digests = stored(job, 8)
        # The newest, the one before it, and one that is being stored, or removed, while we look.
        assert len(there(server.root)) <= 3
        assert not there(server.root) & set(digests[:5])
        server.kill()
    server = serve()
    with server.connect() as client:
        job = client.jobs.get(job.id)
        stored(job, 12)
        job.cancel()
        with pytest.raises(penult.Cancelled):
            job.wait(timeout=60)
        listed = {one.digest for one in client.checkpoints.list() if one.run_id == job.id}
        assert listed == there(server.root)
        assert len(listed) <= 2


def test_what_others_need_of_a_run_that_goes_on_is_kept(serve, table, tiny):
    """Features, a job that waits, and another run that has stored the same."""
    server = serve(None, "--max-running-jobs", "2")
    with server.connect() as client:
        client.datasets.register("shapes", table)
        # The start of every run with this seed; and a set of features from it.
        other = client.finetune(dataset="shapes", backbone=tiny["backbone"], pretrained=False, epochs=0).wait()
        job = client.finetune(
            dataset="shapes", evaluate=["val"], record=penult.Record(keep="last"), **tiny | {"epochs": 5000}
        )
        begin, *_ = stored(job, 4)
        assert begin == other.checkpoints[0].digest
        assert begin in there(server.root)
        # A job that needs one of a moment ago, which may have gone before it was asked for.
        newest = stored(job, 6)[-1]
        try:
            sets = client.extract(newest, splits=["val"]).wait()
        except penult.NotFound:
            sets = {}
        stored(job, 10)
        for one in sets.values():
            assert one.checkpoint in there(server.root)
        with pytest.raises(penult.PreconditionFailed) as caught:
            client.checkpoints.delete(begin)
        assert job.id in caught.value.metadata["jobs"]
        # The run that stored it first goes; the one that is going on inherits it.
        assert [one.id for one in client.runs.delete(other).stays][:1] == [begin]
        job.cancel()
