"""Buckets: which service is refused, whose prefix it is, what is fetched how often, and who wins where two decide."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from moto_s3 import CREDENTIALS, MotoS3, Outage, stripping

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.stores.places.opening import STORE_FILE, bytes_elsewhere, files_of, read_place, store_of
from penult_server.stores.places.serving import prepare_store
from penult_server.stores.places.store import Written
from penult_server.stores.removal import condemn, remove, set_aside

KIND, DIGEST = "features", "d" * 64
CONTENT = {"x/c/0": b"x" * 1000, "y/c/0": b"y" * 500}


@pytest.fixture(scope="module")
def s3() -> Iterator[MotoS3]:
    server = MotoS3()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def credentials(monkeypatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def url(s3) -> str:
    return s3.bucket()


@pytest.fixture
def root(s3, url, tmp_path) -> Path:
    prepare_store(tmp_path, url, s3.endpoint)
    return tmp_path


def put_all(attempt) -> dict[str, Written]:
    return {name: attempt.put(name, one) for name, one in CONTENT.items()}


def write(root: Path, digest: str = DIGEST) -> bool:
    attempt = store_of(root).attempt(KIND)
    try:
        return attempt.commit(digest, "{}", put_all(attempt), lambda stored: not stored.damaged(sums()))
    finally:
        attempt.discard()


def sums() -> dict[str, str]:
    import hashlib

    return {name: hashlib.sha256(one).hexdigest() for name, one in CONTENT.items()}


def keys(root: Path, prefix: str = "data/") -> list[str]:
    return [one.key for one in store_of(root).bucket.listed(prefix)]


def counted(root: Path, monkeypatch, name: str = "get") -> list[str]:
    """The keys that are asked for from now on."""
    bucket, asked = store_of(root).bucket, []
    real = getattr(bucket, name)
    monkeypatch.setattr(bucket, name, lambda key, *rest: (asked.append(key), real(key, *rest))[1], raising=True)
    return asked


@pytest.mark.parametrize("headers", [("if-none-match",), ("if-match",), ("if-none-match", "if-match")])
def test_a_service_that_ignores_conditions_is_refused(s3, url, tmp_path, headers):
    with (
        stripping(s3.address, *headers) as endpoint,
        pytest.raises(ServiceError, match="ignores conditional") as raised,
    ):
        prepare_store(tmp_path, url, endpoint)
    assert raised.value.kind is ErrorKind.INVALID_ARGUMENT
    assert "two workers could both believe" in raised.value.message
    assert not (tmp_path / STORE_FILE).exists()
    with stripping(s3.address) as endpoint:
        prepare_store(tmp_path, url, endpoint)
    assert read_place(tmp_path).url == url


def test_an_outage_is_waited_out(s3, url, tmp_path, monkeypatch):
    """Eleven refusals in a row, of every sort of request."""
    from penult_server.stores.places.bucket import client

    monkeypatch.setattr(client, "FIRST_WAIT", timedelta(milliseconds=1))
    monkeypatch.setattr(client, "LONGEST_WAIT", timedelta(milliseconds=5))
    outage = Outage()
    with stripping(s3.address, outage=outage) as endpoint:
        bucket = client.Bucket(url, endpoint)
        for key, ask in enumerate(
            (
                lambda: bucket.put("one", b"1"),
                lambda: bucket.create("two", b"2"),
                lambda: bytes(bucket.get("one")[0]),
                lambda: [one.key for one in bucket.listed("")],
                lambda: bucket.delete(["two"]),
            )
        ):
            outage.begin(11)
            ask()
            assert outage.n_refused == 11 * (key + 1)
        assert [one.key for one in bucket.listed("")] == ["one"]


def test_a_root_remembers_its_store_and_a_prefix_its_root(s3, url, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(), two.mkdir()
    prepare_store(two)
    assert not list(two.iterdir()), "without a store nothing is done"
    prepare_store(one, f"{url}/", s3.endpoint, 1000)
    prepare_store(one)
    assert (read_place(one).url, read_place(one).cache_bytes) == (url, 1000)
    prepare_store(one, url, "", 2000)
    assert (read_place(one).endpoint, read_place(one).cache_bytes) == (s3.endpoint, 2000)
    with pytest.raises(ServiceError, match=r"lie in s3://.*and --store names s3://elsewhere"):
        prepare_store(one, "s3://elsewhere", s3.endpoint)
    with pytest.raises(ServiceError, match="holds the things of another root"):
        prepare_store(two, url, s3.endpoint)
    assert (os.stat(one / STORE_FILE).st_mode & 0o777) == 0o600
    (one / STORE_FILE).write_text("{}")
    with pytest.raises(ServiceError, match="is damaged") as raised:
        store_of(one)
    assert raised.value.kind is ErrorKind.STORE_CORRUPT


@pytest.mark.parametrize("wrong", ["gs://bucket", "s3:///prefix", "/a/path", "s3://bucket/a?b"])
def test_what_is_no_bucket_is_refused(tmp_path, wrong):
    with pytest.raises(ServiceError, match=r"such as s3://bucket/prefix; got"):
        prepare_store(tmp_path, wrong)


def test_what_a_root_had_before_stays_on_its_disk(s3, url, tmp_path):
    assert write(tmp_path)
    prepare_store(tmp_path, url, s3.endpoint)
    assert not write(tmp_path)
    assert (keys(tmp_path), bytes_elsewhere(tmp_path / KIND / DIGEST)) == ([], 0)
    (tmp_path / KIND / DIGEST / "x/c/0").unlink()
    assert write(tmp_path)
    assert files_of(tmp_path / KIND / DIGEST).damaged(sums()) == []
    assert len(keys(tmp_path)) == len(CONTENT)


def test_a_service_that_is_not_there_and_a_bucket_that_is_not_are_told(s3, tmp_path, monkeypatch):
    from penult_server.stores.places.bucket import client

    monkeypatch.setattr(client, "RETRIES", 0)
    with pytest.raises(ServiceError, match=r"the object store s3://abc/x failed at check/.*ask again") as raised:
        prepare_store(tmp_path, "s3://abc/x", "http://127.0.0.1:9")
    assert raised.value.kind is ErrorKind.DISK_FAILED
    with pytest.raises(ServiceError, match=r"s3://no-such-bucket/x failed .*NoSuchBucket") as raised:
        prepare_store(tmp_path, "s3://no-such-bucket/x", s3.endpoint)
    assert raised.value.kind is ErrorKind.DISK_FAILED


def test_nothing_of_it_is_loaded_on_a_machine_without(tmp_path):
    code = """
import sys
from pathlib import Path
from penult_server.front import server
from penult_server.stores.places.serving import prepare_store
from penult_server.stores.places.opening import store_of
prepare_store(Path(sys.argv[1])), store_of(Path(sys.argv[1])).attempt("features").discard()
assert not [name for name in sys.modules if name.split(".")[0] in ("obstore", "boto3", "botocore")]
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_the_collector_takes_what_the_dead_left_and_nothing_else(root):
    store = store_of(root)
    write(root)
    dead, live = store.attempt(KIND), store.attempt(KIND)
    put_all(dead)
    began, deadline = store._collector._now(), time.monotonic() + 20
    files = put_all(live)
    while (store._collector._now() - began).total_seconds() < 2:
        assert time.monotonic() < deadline
        live.put("z/c/0", b"z" * 100)
    files["z/c/0"] = live.put("z/c/0", b"z" * 100)
    assert store.collect(86400.0) == []
    assert store.collect(1.0) == [f"data/{KIND}/{dead.name}/"]
    assert live.commit("e" * 64, "{}", files, lambda _: True)
    assert store.collect(-3600.0) == []
    assert store.digests(KIND) == [DIGEST, "e" * 64]
    put_all(store.attempt(KIND))
    store.bucket.put(f"manifests/{KIND}/{'a' * 64}.json", b"{}")
    with pytest.raises(ServiceError, match=r"as long as it may name any files, none are collected"):
        store.collect(-3600.0)


def test_an_attempt_that_was_collected_does_not_commit(root):
    store = store_of(root)
    attempt = store.attempt(KIND)
    files = put_all(attempt)
    store.collect(-3600.0)
    with pytest.raises(ServiceError, match=r"does not have 2 of 2 files that were put"):
        attempt.commit(DIGEST, "{}", files, lambda _: True)
    assert not store.find(KIND, DIGEST)


def test_a_refusal_of_both_is_asked_again_and_a_lost_answer_is_ours(root, monkeypatch):
    from penult_server.stores.places.bucket import attempt as module
    from penult_server.stores.places.bucket.client import TakenError

    monkeypatch.setattr(module, "TRY_SECONDS", 0.001)
    store = store_of(root)
    real, refusals = store.bucket.create, []

    def refused_twice(key, content):
        refusals.append(key)
        if len(refusals) <= 2:
            raise TakenError
        return real(key, content)

    monkeypatch.setattr(store.bucket, "create", refused_twice)
    assert write(root)
    assert len(refusals) == 3
    remove(condemn(set_aside([root / KIND / DIGEST])))

    def lost(key, content, *rest):
        real_of[len(rest)](key, content, *rest)
        raise ServiceError(ErrorKind.DISK_FAILED, "no answer")

    real_of = {0: real, 1: store.bucket.replace}
    monkeypatch.setattr(store.bucket, "create", lost)
    monkeypatch.setattr(store.bucket, "replace", lost)
    attempt = store.attempt(KIND)
    files = put_all(attempt)
    with pytest.raises(ServiceError, match="no answer"):
        attempt.commit(DIGEST, "{}", files, lambda _: True)
    attempt.discard()
    assert len(keys(root)) == len(CONTENT), "what may be named stays"
    monkeypatch.undo()
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    assert attempt.commit(DIGEST, "{}", files, lambda _: True)
    assert files_of(root / KIND / DIGEST).damaged(sums()) == []


@pytest.mark.parametrize("adopted", ["before the look", "between look and burial"])
def test_a_thing_that_is_asked_for_while_it_is_removed_is_kept_or_made_again(root, monkeypatch, adopted):
    """A deletion looks whether somebody took the thing over, then buries its entry on condition."""
    write(root)
    store = store_of(root)
    left = condemn(set_aside([root / KIND / DIGEST]))
    real = store._pointers.names
    asked: list[str] = []

    def look(kind, digest, attempt):
        if not asked:
            asked.append(digest)
            if adopted == "before the look":
                assert store.find(kind, digest)
                return real(kind, digest, attempt)
            found = real(kind, digest, attempt)
            assert store.find(kind, digest)
            return found
        return real(kind, digest, attempt)

    monkeypatch.setattr(store._pointers, "names", look)
    remove(left)
    assert asked
    assert files_of(root / KIND / DIGEST).damaged(sums()) == []
    assert not left[0].exists()


def test_a_deletion_comes_before_who_takes_over(root, monkeypatch):
    write(root)
    store = store_of(root)
    left = condemn(set_aside([root / KIND / DIGEST]))
    real = store.bucket.replace

    def slow(key, content, e_tag):
        monkeypatch.setattr(store.bucket, "replace", real)
        remove(left)
        return real(key, content, e_tag)

    monkeypatch.setattr(store.bucket, "replace", slow)
    # The directory is there when the deletion looks: it leaves the thing alone, and both know.
    assert store.find(KIND, DIGEST)
    assert files_of(root / KIND / DIGEST).damaged(sums()) == []
    remove(condemn(set_aside([root / KIND / DIGEST])))
    assert (keys(root), store.digests(KIND), store.find(KIND, DIGEST)) == ([], [], False)
    assert write(root)


def test_what_cannot_be_removed_now_is_removed_later(root, monkeypatch):
    write(root)
    store = store_of(root)
    (left,) = condemn(set_aside([root / KIND / DIGEST]))

    def fail(key):
        raise ServiceError(ErrorKind.DISK_FAILED, "no answer")

    with monkeypatch.context() as patch:
        patch.setattr(store.bucket, "get", fail)
        remove([left])
    assert left.exists()
    assert keys(root)
    remove([left])
    assert not left.exists()
    assert not keys(root)


def test_another_machine_finds_what_one_has_committed(root, tmp_path, tmp_path_factory):
    write(root)
    other = tmp_path_factory.mktemp("node")
    (other / STORE_FILE).write_bytes((root / STORE_FILE).read_bytes())
    assert store_of(other).find(KIND, DIGEST)
    out = np.empty(1000, np.uint8)
    files_of(other / KIND / DIGEST).fill("x/c/0", out, sums()["x/c/0"])
    assert out.tobytes() == CONTENT["x/c/0"]
    assert not write(other)


def test_the_cache_is_asked_first_compared_and_bounded(root, monkeypatch):
    write(root)
    assert bytes_elsewhere(root / KIND / DIGEST) == 1500
    asked = counted(root, monkeypatch)
    stored = files_of(root / KIND / DIGEST)
    out = np.empty(1000, np.uint8)
    for _ in range(3):
        stored.fill("x/c/0", out, sums()["x/c/0"])
    assert len(asked) == 1
    (kept,) = (root / "cache" / "store").iterdir()
    assert kept.name == sums()["x/c/0"]
    for spoilt in (b"x" * 999 + b"y", b"x" * 999, b"x" * 1001):
        kept.write_bytes(spoilt)
        out[:] = 0
        stored.fill("x/c/0", out, sums()["x/c/0"])
        assert out.tobytes() == CONTENT["x/c/0"]
    assert len(asked) == 4
    assert kept.read_bytes() == CONTENT["x/c/0"]
    assert stored.damaged(sums()) == []
    assert len(asked) == 6, "damage is looked for in the bucket"
    folder = stored.directory()
    (folder / "y/c/0").write_bytes(b"other")
    assert (stored.directory() / "y/c/0").read_bytes() == CONTENT["y/c/0"]


def test_chunks_that_are_read_in_order_are_fetched_ahead(root, monkeypatch):
    store, attempt = store_of(root), store_of(root).attempt(KIND)
    names = [f"x/c/{number}/0" for number in range(8)]
    files = {name: attempt.put(name, name.encode() * 9) for name in names}
    assert attempt.commit(DIGEST, "{}", files, lambda _: True)
    real, at_once = store.bucket.get, threading.Barrier(4)

    def get(key):
        if key.endswith(("/2/0", "/3/0", "/4/0", "/5/0")):
            at_once.wait(20)  # nobody comes through alone
        return real(key)

    monkeypatch.setattr(store.bucket, "get", get)
    stored, out = files_of(root / KIND / DIGEST), np.empty(9 * 7, np.uint8)
    for name in names:
        stored.fill(name, out, files[name].sha256)
        assert out.tobytes() == name.encode() * 9
    monkeypatch.setattr(store.bucket, "get", real)
    asked = counted(root, monkeypatch)
    shutil.rmtree(root / "cache")
    other = files_of(root / KIND / DIGEST)
    for number in (5, 1, 3):
        other.fill(names[number], out, files[names[number]].sha256)
    assert len(asked) == 3, "whoever picks chunks gets those alone"


def test_what_was_fetched_ahead_goes_with_its_reader(root):
    import gc
    import weakref

    gc.disable()
    try:
        write(root)
        stored = files_of(root / KIND / DIGEST)
        stored.fill("x/c/0", np.empty(1000, np.uint8), sums()["x/c/0"])
        left = weakref.ref(stored._ahead)
        del stored
        assert left() is None
    finally:
        gc.enable()


def test_an_error_of_a_chunk_is_told_to_who_asks_for_it(root):
    store, attempt = store_of(root), store_of(root).attempt(KIND)
    names = [f"x/c/{number}/0" for number in range(4)]
    files = {name: attempt.put(name, name.encode()) for name in names}
    assert attempt.commit(DIGEST, "{}", files, lambda _: True)
    store.bucket.put(f"data/{KIND}/{attempt.name}/{names[3]}", b"altered")
    stored, out = files_of(root / KIND / DIGEST), np.empty(7, np.uint8)
    for name in names[:3]:
        stored.fill(name, out, files[name].sha256)
    for _ in range(2):
        with pytest.raises(ValueError, match=names[3]):
            stored.fill(names[3], out, files[names[3]].sha256)


def test_the_cache_holds_no_more_than_it_may(tmp_path):
    import hashlib

    from penult_server.stores.places.bucket.cache import Cache

    cache = Cache(tmp_path / "cache", 16_000)
    for number in range(40):
        content = bytes([number]) * 1000
        cache.keep(hashlib.sha256(content).hexdigest(), memoryview(content))
        os.utime(tmp_path / "cache" / hashlib.sha256(content).hexdigest(), (number, number))
    kept = [hashlib.sha256(bytes([number]) * 1000).hexdigest() for number in range(40)]
    there = {one.name for one in (tmp_path / "cache").iterdir()}
    assert 14 <= len(there) <= 17
    assert there <= set(kept[22:])
    cache.keep("0" * 64, memoryview(bytes(20_000)))
    assert "0" * 64 not in {one.name for one in (tmp_path / "cache").iterdir()}


def test_an_entry_that_is_damaged_here_is_named(root):
    write(root)
    path = root / KIND / DIGEST / "objects.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"attempt": "other"}))
    with pytest.raises(ServiceError, match=r"objects.json of features/dddddddddddd.* is damaged") as raised:
        files_of(root / KIND / DIGEST)
    assert raised.value.kind is ErrorKind.STORE_CORRUPT
    (root / STORE_FILE).unlink()
    with pytest.raises(ServiceError, match=r"store.json of the root, which names that, is missing"):
        files_of(root / KIND / DIGEST)
