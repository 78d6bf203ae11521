"""What a bucket has of a root's disk: datasets, uploads, runs and their training states; and who may commit."""

import shutil
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from moto_s3 import CREDENTIALS, MotoS3
from safetensors.numpy import save_file

from penult_proto.errors import ErrorKind
from penult_proto.v1 import jobs_pb2 as pb
from penult_server.errors import ServiceError
from penult_server.registry.database import Database
from penult_server.registry.jobs import JobTable, Superseded
from penult_server.stores.disk.sealed import sealed_text
from penult_server.stores.places.fence import fenced
from penult_server.stores.places.opening import STORE_FILE, copies_of, store_of
from penult_server.stores.places.recovering import recover_lost
from penult_server.stores.places.serving import prepare_store
from penult_server.stores.places.store import COPY
from penult_server.stores.removal import condemn, remove, set_aside
from penult_server.stores.training_states import (
    adopt_training_state,
    damaged_states,
    discard_training_state,
    fetch_state,
    has_state,
    publish_state,
    runs_with_state,
    state_bytes,
    state_file,
)
from penult_server.stores.uploads import ExpectedFile, IncomingFiles, has_upload, remove_uploads, upload_directory

DATA, RUN = "d" * 64, "run-1"


@pytest.fixture(scope="module")
def s3() -> Iterator[MotoS3]:
    server = MotoS3()
    yield server
    server.stop()


@pytest.fixture
def root(s3, tmp_path, monkeypatch) -> Path:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "one").mkdir()
    prepare_store(tmp_path / "one", s3.bucket(), s3.endpoint)
    return tmp_path / "one"


@pytest.fixture
def other(root) -> Path:
    """The root of another machine, with an empty disk, which uses the same bucket."""
    (root.parent / "two").mkdir()
    shutil.copy(root / STORE_FILE, root.parent / "two" / STORE_FILE)
    return root.parent / "two"


def keys(root: Path, prefix: str = "") -> list[str]:
    return [one.key for one in store_of(root).bucket.listed(prefix)]


def content(directory: Path) -> dict[str, bytes]:
    found = {path.relative_to(directory).as_posix(): path for path in directory.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if path.name != COPY}


def dataset(root: Path) -> Path:
    directory = root / "datasets" / DATA
    (directory / "images").mkdir(parents=True)
    (directory / "manifest.json").write_text("{}")
    (directory / "registration.json").write_text("first")
    (directory / "texts.utf8").write_bytes(b"")
    for index in range(12):
        (directory / "images" / f"{index}.png").write_bytes(bytes([index]) * 100)
    return directory


def test_a_dataset_is_found_by_another_machine_and_goes_everywhere(root, other):
    assert not store_of(other).has("datasets", DATA)
    directory = dataset(root)
    store_of(root).keep("datasets", DATA)
    before = keys(root, "data/")
    (directory / "registration.json").write_text("second")
    store_of(root).keep("datasets", DATA)
    assert keys(root, "data/") == before, "what never changes is put once"
    assert store_of(other).has("datasets", DATA)
    assert content(other / "datasets" / DATA) == content(directory)
    assert copies_of(root).damaged("datasets", DATA) == []
    bucket = store_of(root).bucket
    bucket.put(next(one for one in before if one.endswith("/images/3.png")), b"other")
    assert copies_of(root).damaged("datasets", DATA) == ["images/3.png"]
    shutil.rmtree(other / "datasets" / DATA)
    with pytest.raises(ServiceError, match=r"images/3\.png .* is missing or altered in s3://") as raised:
        store_of(other).has("datasets", DATA)
    assert raised.value.kind is ErrorKind.STORE_CORRUPT
    assert not (other / "datasets" / DATA).exists()
    assert store_of(root).collect(0.0) == [], "the collector knows what an entry names"
    remove(condemn(set_aside([directory])))
    assert keys(root, "data/") == []
    assert not store_of(other).has("datasets", DATA)


def test_a_dataset_that_was_registered_again_meanwhile_stays(root, other):
    directory = dataset(root)
    store_of(root).keep("datasets", DATA)
    going = condemn(set_aside([directory]))
    dataset(root)
    store_of(root).keep("datasets", DATA)
    remove(going)
    assert copies_of(root).damaged("datasets", DATA) == []
    assert store_of(other).has("datasets", DATA)
    shutil.rmtree(other / "datasets")
    going = condemn(set_aside([directory]))
    (dataset(other) / "texts.utf8").write_bytes(b"as another version writes it")
    store_of(other).keep("datasets", DATA)
    remove(going)
    assert store_of(root).has("datasets", DATA)
    assert content(directory) == content(other / "datasets" / DATA)
    assert len({key.split("/")[2] for key in keys(root, "data/")}) == 1


def test_an_upload_is_taken_by_one_machine_and_read_by_another(root, other):
    import hashlib

    files = [ExpectedFile(name, len(name), hashlib.sha256(name.encode()).hexdigest()) for name in ("a.json", "b.bin")]
    with IncomingFiles(root, files) as incoming:
        incoming.write(b"a.jsonb.bin")
        incoming.finish()
    store_of(root).keep("uploads", incoming.digest)
    assert has_upload(other, incoming.digest)
    assert content(upload_directory(other, incoming.digest)) == {"a.json": b"a.json", "b.bin": b"b.bin"}
    assert not list(upload_directory(other, incoming.digest).glob(COPY)), "they are known by all that lies there"
    shutil.rmtree(other / "uploads")
    remove_uploads(other, {incoming.digest})
    remove_uploads(other, set(), only="a" * 64)
    remove_uploads(other, set(), older_than=3600)
    assert keys(root, "data/")
    remove_uploads(other, set(), only=incoming.digest)
    assert (keys(root, "data/"), keys(root, "manifests/")) == ([], [])
    assert not has_upload(other, incoming.digest)
    assert has_upload(root, incoming.digest), "the machine that took it has it until its own server removes it"


def save(root: Path, step: int) -> bytes:
    """A training state, as far as it is looked at without a framework."""
    import zlib

    path, tensor = state_file(root, RUN), np.full(5, step, np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    said = {"format": 3, "checksums": {"model.x": zlib.crc32(tensor.tobytes())}, "step": step}
    save_file({"model.x": tensor}, path, metadata={"state": sealed_text(said, indent=None)})
    return path.read_bytes()


def test_the_state_of_the_last_attempt_counts_and_a_zombie_s_does_not(root, other):
    save(root, 1)
    publish_state(root, RUN, 1)
    assert not state_file(root, RUN).exists(), "there is one place for it"
    assert (has_state(other, RUN), runs_with_state(other)) == (True, [RUN])
    second = save(other, 2)
    publish_state(other, RUN, 2)
    assert keys(root, "shared/") == [f"shared/runs/{RUN}/training_state.2.safetensors"]
    assert state_bytes(root) == {RUN: len(second)}
    stale = save(root, 3)
    publish_state(root, RUN, 1)  # the first goes on, and knows nothing
    save(root, 4)  # nor does what a disk has count
    assert fetch_state(root, RUN).read_bytes() == fetch_state(other, RUN).read_bytes() == second
    bucket = store_of(root).bucket
    bucket.put(f"shared/runs/{RUN}/training_state.2.safetensors", second[:-1] + struct.pack("B", second[-1] ^ 1))
    assert damaged_states(root, RUN) == ["has a damaged tensor model.x"]
    assert fetch_state(root, RUN).read_bytes() == stale
    adopt_training_state(root, "run-2", ["run-9", RUN])
    assert runs_with_state(root) == ["run-2"]
    assert fetch_state(other, "run-2").read_bytes() == stale
    discard_training_state(root, "run-2")
    discard_training_state(other, "run-2")
    assert (has_state(other, "run-2"), keys(root, "shared/")) == (False, [])


def test_a_lost_disk_gets_its_directories_back_and_they_take_all_with_them(root, other):
    save(root, 1)
    publish_state(root, "run-1", 1)
    for name in ("manifest.json", "record.json"):
        path = root / "runs" / "run-2" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
        store_of(root).share("runs", "run-2", path)
    dataset(root)
    store_of(root).keep("datasets", DATA)
    known = {"features": ["f" * 64], "datasets": [DATA, "e" * 64]}
    assert recover_lost(other, known) == {"datasets": 1, "runs": 2}
    assert recover_lost(other, known) == {}
    assert content(other / "runs" / "run-2") == {"manifest.json": b"manifest.json", "record.json": b"record.json"}
    remove(condemn(set_aside([*(other / "runs").iterdir(), other / "datasets" / DATA])))
    assert (keys(root, "shared/"), keys(root, "data/")) == ([], [])
    assert recover_lost(root.parent / "three", known) == {}, "a root without a bucket has nothing elsewhere"


@pytest.mark.parametrize("is_local", [True, False])
def test_who_may_commit_no_more_publishes_nothing(root, tmp_path, is_local):
    def over() -> None:
        raise Superseded("attempt 1 at job x")

    place = tmp_path / "disk" if is_local else root
    staged: list[int] = []

    def commit(digest: str) -> None:
        attempt = store_of(place).attempt("features")
        try:
            written = attempt.put("x/c/0", b"x" * 1000)
            staged.append(len(list(place.rglob("x/c/0"))) if is_local else len(keys(root, "data/")))
            attempt.commit(digest, "{}", {"x/c/0": written}, lambda _: True)
        finally:
            attempt.discard()

    with fenced(over), pytest.raises(Superseded):
        commit("a" * 64)
    assert staged == [1], "it was asked after all was written"
    assert store_of(place).digests("features") == []
    assert not (place / "features" / ("a" * 64)).exists()
    if not is_local:
        assert keys(root, "manifests/") == keys(root, "data/") == []
        save(root, 1)
        dataset(root)
        with fenced(over):
            for write in (lambda: publish_state(root, RUN, 1), lambda: store_of(root).keep("datasets", DATA)):
                with pytest.raises(Superseded):
                    write()
        assert keys(root, "shared/") == keys(root, "manifests/") == []
    with fenced(lambda: None):
        commit("a" * 64)
    assert store_of(place).digests("features") == ["a" * 64]


def test_after_a_takeover_the_first_commits_nothing_and_the_second_does(root, other, postgres_url):
    """The lease of one of two servers is over while its worker is between its puts and its commit."""
    spec = pb.JobSpec(extract=pb.ExtractSpec(checkpoint="c" * 64))
    with closing(Database(postgres_url)) as one, closing(Database(postgres_url)) as two:
        first, second = JobTable(one, lease=0.0), JobTable(two)
        job = first.create(spec, "digest", "", 10)
        assert first.start_next().attempt == 1
        late = store_of(root).attempt("features")
        written = {"x/c/0": late.put("x/c/0", b"x")}
        with fenced(lambda: first.check_held(job.id, 1)):
            kept = save(root, 1)
            publish_state(root, RUN, 1)  # it still is its own
            assert [one.id for one in second.abandoned()] == [job.id]
            second.requeue(job.id)
            with pytest.raises(Superseded):
                late.commit("a" * 64, "{}", written, lambda _: True)
            assert second.start_next().attempt == 2
            with pytest.raises(Superseded):
                late.commit("a" * 64, "{}", written, lambda _: True)
            save(root, 2)
            with pytest.raises(Superseded):
                publish_state(root, RUN, 1)
        assert keys(root, "manifests/") == []
        late.discard()
        assert keys(root, "data/") == []
        with fenced(lambda: second.check_held(job.id, 2)):
            assert fetch_state(other, RUN).read_bytes() == kept
            own = store_of(other).attempt("features")
            assert own.commit("a" * 64, "{}", {"x/c/0": own.put("x/c/0", b"x")}, lambda _: True)
        second.succeed(job.id, pb.JobResult(), 2)
        with pytest.raises(Superseded):
            second.check_held(job.id, 2)
    assert store_of(root).digests("features") == ["a" * 64]
