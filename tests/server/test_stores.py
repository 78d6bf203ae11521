"""What a store promises, on a disk and in a bucket: things are whole or absent, whoever dies, and damage has a name."""

import itertools
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from moto_s3 import CREDENTIALS, MotoS3

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.records import LabelNames
from penult_server.stores.features import FeatureHeader, FeatureWriter
from penult_server.stores.places.local import LocalAttempt
from penult_server.stores.places.opening import files_of, store_of
from penult_server.stores.places.serving import prepare_store
from penult_server.stores.places.store import Attempt, Files, Store, Written
from penult_server.stores.reading import StoredFeatures
from penult_server.stores.removal import condemn, put_back, recover, remove, remove_left, set_aside

KIND, DIGEST = "features", "d" * 64
CONTENT = {"a/c/0": b"x" * 1000, "a/c/1": bytes(range(256)), "zarr.json": b"{}"}


class DiedError(BaseException):
    """A process was killed: nothing of it runs any more."""


@pytest.fixture(scope="module")
def s3() -> Iterator[MotoS3]:
    server = MotoS3()
    yield server
    server.stop()


@pytest.fixture(params=["disk", "bucket"])
def root(request, tmp_path, monkeypatch) -> Path:
    """A root whose things lie on the disk, or in a bucket."""
    if request.param == "bucket":
        in_bucket(tmp_path, request.getfixturevalue("s3"), monkeypatch)
    return tmp_path


def in_bucket(root: Path, s3: MotoS3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    prepare_store(root, s3.bucket(), s3.endpoint)


def always(_: Files) -> bool:
    return True


def whole(stored: Files) -> bool:
    """As feature sets are looked at."""
    return not stored.damaged(digests())


def digests() -> dict[str, str]:
    import hashlib

    return {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}


def put_all(attempt: Attempt, content: dict[str, bytes] = CONTENT) -> dict[str, Written]:
    return {name: attempt.put(name, one, flush=index == 0) for index, (name, one) in enumerate(content.items())}


def write(store: Store, keeps: Callable[[Files], bool] = whole, manifest: str = "{}") -> bool:
    attempt = store.attempt(KIND)
    try:
        return attempt.commit(DIGEST, manifest, put_all(attempt), keeps)
    finally:
        attempt.discard()


def state(root: Path) -> str:
    """Whether the thing is "absent" or "whole"; anything else is what is wrong."""
    if not store_of(root).find(KIND, DIGEST):
        return "absent"
    damaged = files_of(root / KIND / DIGEST).damaged(digests())
    return f"torn: {damaged}" if damaged else "whole"


def spoil(root: Path, name: str, harm: str) -> None:
    """Flip, truncate or delete a file where it lies."""
    store = store_of(root)
    digest = next(one.name for one in (root / KIND).iterdir() if not one.name.startswith("."))
    if hasattr(store, "bucket"):
        from penult_server.stores.places.bucket.entries import read_entry

        key = read_entry(root / KIND / digest).data_key(name)
        content = bytes(store.bucket.get(key)[0])
        store.bucket.delete([key])
        if harm != "delete":
            store.bucket.put(key, content[:-1] if harm == "truncate" else content[:-1] + bytes([content[-1] ^ 1]))
        shutil.rmtree(root / "cache", ignore_errors=True)
        return
    path = root / KIND / digest / name
    content = path.read_bytes()
    path.unlink()
    if harm != "delete":
        path.write_bytes(content[:-1] if harm == "truncate" else content[:-1] + bytes([content[-1] ^ 1]))


def orphans(root: Path) -> list[str]:
    """What writers left: keys without a thing, or hidden directories."""
    store = store_of(root)
    if not hasattr(store, "bucket"):
        return [one.name for one in (root / KIND).glob(".staging-*")]
    named = {f"data/{KIND}/{one.attempt}/" for one in store._collector.named() if not one.removed}
    return [one.key for one in store.bucket.listed("data/") if not any(one.key.startswith(name) for name in named)]


def clean(root: Path) -> None:
    """As a server cleans up at its start, and a day later."""
    if (root / KIND).is_dir():
        remove_left(root / KIND)
    store_of(root).collect(-60)


def test_what_is_committed_is_read_and_nothing_before(root):
    store = store_of(root)
    attempt = store.attempt(KIND)
    again = store.attempt(KIND, attempt.name)
    files = put_all(again)
    again.put("partial", np.arange(3.0))
    back = np.empty(3)
    attempt.fill("partial", back)
    assert back.tolist() == [0.0, 1.0, 2.0]
    with pytest.raises(ValueError, match="has not"):
        attempt.fill("partial", np.empty(2))
    attempt.drop("partial")
    with pytest.raises(FileNotFoundError):
        attempt.fill("partial", back)
    assert (state(root), store.digests(KIND)) == ("absent", [])
    assert attempt.commit(DIGEST, '{"a": 1}', files, always)
    attempt.discard()
    assert (state(root), store.digests(KIND)) == ("whole", [DIGEST])
    stored = files_of(root / KIND / DIGEST)
    assert stored.manifest() == '{"a": 1}' == (root / KIND / DIGEST / "manifest.json").read_text()
    for name, content in CONTENT.items():
        out = np.empty(len(content), np.uint8)
        for _ in range(2):
            stored.fill(name, out, digests()[name])
            assert out.tobytes() == content == stored.read(name, digests()[name])
        assert (stored.directory() / name).read_bytes() == content
        with pytest.raises(ValueError):
            stored.read(name, "0" * 64)
        with pytest.raises(ValueError):
            stored.fill(name, np.empty(len(content) - 1, np.uint8), digests()[name])
    with pytest.raises(FileNotFoundError):
        stored.read("none", "0" * 64)
    assert stored.missing({**digests(), "none": ""}) == ["none"]
    assert not orphans(root)


def test_the_second_of_equal_things_is_dropped_and_a_damaged_one_replaced(root):
    store = store_of(root)
    assert write(store, manifest="first")
    assert not write(store, manifest="second")
    assert files_of(root / KIND / DIGEST).manifest() == "first"
    assert not orphans(root)
    for number, harm in enumerate(("flip", "truncate", "delete")):
        spoil(root, "a/c/1", harm)
        assert files_of(root / KIND / DIGEST).damaged(digests()) == ["a/c/1"]
        assert write(store, manifest=f"mended {number}")
        assert state(root) == "whole"
        assert files_of(root / KIND / DIGEST).manifest() == f"mended {number}"
        assert not write(store, manifest="late")


LABELS = LabelNames(classes=("cat", "dog"), attribute="place", attribute_values=("in", "out"))


def write_features(root: Path, n: int = 40) -> str:
    rng = np.random.default_rng(0)
    header = FeatureHeader(n_examples=n, n_features=4, dtype="float32", labels=LABELS)
    with FeatureWriter(root, header) as writer:
        writer.append(
            features=rng.standard_normal((n, 4)).astype(np.float32),
            y=np.arange(n) % 2,
            a=np.arange(n) // 2 % 2,
            row_id=np.arange(n, dtype=np.uint64),
        )
        return writer.finish().digest


@pytest.mark.parametrize("harm", ["flip", "truncate", "delete"])
@pytest.mark.parametrize("name", ["features/c/0/0", "y/c/0", "features/zarr.json"])
def test_damage_of_a_feature_set_is_named(root, name, harm):
    digest = write_features(root)
    StoredFeatures(root, digest).read("features")
    spoil(root, name, harm)
    with pytest.raises(ServiceError, match=name) as raised:
        _ = [StoredFeatures(root, digest).read(one) for one in ("features", "y")]
    assert raised.value.kind is ErrorKind.STORE_CORRUPT
    assert write_features(root) == digest
    assert StoredFeatures(root, digest).read("y").tolist() == [index % 2 for index in range(40)]


class Deaths:
    """Ends a writer at one of its steps: before it, or after it was done and before anybody was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self.at, self.after, self.seen = -1, False, 0
        self._threads: dict[int, int] = {}
        if hasattr(store_of(root), "bucket"):
            from penult_server.stores.places.bucket.client import Bucket

            for name in ("put", "create", "replace", "get", "head", "delete"):
                monkeypatch.setattr(Bucket, name, self._dying(getattr(Bucket, name)))
        else:
            monkeypatch.setattr(LocalAttempt, "put", self._dying(LocalAttempt.put))

    def _dying(self, real: Callable) -> Callable:
        def call(*arguments, **options):
            number = self._threads.get(threading.get_ident(), self.at)
            mine = threading.get_ident() in self._threads
            if mine:
                self._threads[threading.get_ident()] -= 1
            else:
                self.seen += 1
                number = self.at - self.seen + 1
            if number == 0 and not self.after:
                raise DiedError
            answer = real(*arguments, **options)
            if number == 0:
                raise DiedError
            return answer

        return call

    def this_thread_at(self, step: int) -> None:
        """End this thread alone, at a step."""
        self._threads[threading.get_ident()] = step


def killed_write(root: Path, manifest: str = "killed") -> bool:
    """A writer without a `finally`: a killed process has none."""
    attempt = store_of(root).attempt(KIND)
    return attempt.commit(DIGEST, manifest, put_all(attempt), whole)


@pytest.mark.parametrize("after", [False, True])
def test_death_at_every_step_leaves_all_or_nothing(root, monkeypatch, after):
    deaths = Deaths(monkeypatch, root)
    deaths.after = after
    for step in itertools.count():
        deaths.at, deaths.seen = step, 0
        try:
            killed_write(root)
        except DiedError:
            pass
        else:
            break
        deaths.at = -1
        found = state(root)
        assert found in ("absent", "whole"), f"after step {step}: {found}"
        clean(root)
        assert not orphans(root)
        write(store_of(root))
        assert state(root) == "whole"
        place = root / KIND / DIGEST
        remove(condemn(set_aside([place])))
        assert (state(root), orphans(root)) == ("absent", [])
    assert step >= len(CONTENT)


@pytest.mark.parametrize("rounds", [12, pytest.param(150, marks=pytest.mark.slow)])
def test_races_with_deaths_are_never_torn(root, monkeypatch, rounds):
    deaths, dice = Deaths(monkeypatch, root), random.Random(1)
    seen: list[str] = []
    ended = 0

    def writer(step: int) -> None:
        nonlocal ended
        deaths.this_thread_at(step)
        try:
            killed_write(root)
        except DiedError:
            ended += 1

    for _ in range(rounds):
        writers = [threading.Thread(target=writer, args=(dice.choice([-1, *range(9)]),)) for _ in range(2)]
        for one in writers:
            one.start()
        while any(one.is_alive() for one in writers):
            seen.append(state(root))
        for one in writers:
            one.join()
        seen.append(state(root))
        place = root / KIND / DIGEST
        remove(condemn(set_aside([place])))
        clean(root)
        assert (state(root), orphans(root)) == ("absent", [])
    assert not [one for one in seen if one not in ("absent", "whole")]
    assert ended
    assert "whole" in seen


WRITER = """
import sys
from pathlib import Path
from penult_server.stores.places.opening import store_of
from penult_server.stores.places.store import AlteredError
import test_stores

root = Path(sys.argv[1])
store = store_of(root)
store.find(test_stores.KIND, "0" * 64)
print("ready", flush=True)
for line in sys.stdin:
    print(test_stores.write(store), flush=True)
"""


@pytest.mark.slow
def test_processes_that_are_killed_leave_all_or_nothing(root):
    """kill -9 at any time, of two writers of one thing, each a process; a reader looks throughout."""
    dice, seen, n_killed, n_whole = random.Random(2), list[str](), 0, 0
    for _ in range(15):
        command = [sys.executable, "-c", WRITER, str(root)]
        places = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": os.environ | {"PYTHONPATH": places}}
        writers = [subprocess.Popen(command, **pipes) for _ in range(2)]
        for one in writers:
            assert one.stdout.readline() == b"ready\n"
        ends = [time.monotonic() + dice.choice([0.01, 0.03, 0.06, 0.1, 0.2, 20.0]) for _ in writers]
        for one in writers:
            one.stdin.write(b"go\n")
            one.stdin.close()
        while any(one.poll() is None for one in writers):
            seen.append(state(root))
            for one, end in zip(writers, ends, strict=True):
                if time.monotonic() > end and one.poll() is None:
                    one.kill()
                    n_killed += 1
        for one in writers:
            one.wait()
            one.stdout.close()
        seen.append(state(root))
        n_whole += seen[-1] == "whole"
        clean(root)
        assert not orphans(root)
        assert write(store_of(root)) == (seen[-1] == "absent")
        remove(condemn(set_aside([root / KIND / DIGEST])))
        assert (state(root), orphans(root)) == ("absent", [])
    assert not [one for one in seen if one not in ("absent", "whole")]
    assert n_killed > 3
    assert n_whole > 3


def test_a_deletion_is_undone_or_finished(root):
    place = root / KIND / DIGEST
    write(store_of(root))
    put_back(set_aside([place]))
    assert state(root) == "whole"
    set_aside([place])  # and then the server is killed, before the registry has forgotten it
    recover(root, lambda folder, name: True)
    assert state(root) == "whole"
    set_aside([place])  # after it has
    recover(root, lambda folder, name: False)
    assert (state(root), orphans(root)) == ("absent", [])
    write(store_of(root))
    condemn(set_aside([place]))  # before anything was removed
    remove_left(root / KIND)
    assert (state(root), orphans(root)) == ("absent", [])
    assert write(store_of(root))
    assert state(root) == "whole"
