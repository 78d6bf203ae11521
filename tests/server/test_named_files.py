"""Work of the front on files that clients name: it never holds up anything else."""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from penult_proto.errors import ErrorKind
from penult_proto.roles import Role
from penult_proto.v1 import jobs_pb2 as pb
from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.errors import ServiceError
from penult_server.front.caller import CALLER, Caller
from penult_server.front.queries import named_files
from penult_server.front.queries.named_files import NamedFiles
from penult_server.front.queries.specs import Resolver
from penult_server.front.registry_thread import Registry
from penult_server.jobs.fleets.local import LocalFleet
from penult_server.jobs.work import work
from penult_server.named.roots import READING
from penult_server.settings import Settings

OWNER = Caller(user="me", role=Role.ADMIN, is_owner=True)
OTHER = Caller(user="you", role=Role.ADMIN)


@asynccontextmanager
async def resolver(settings: Settings) -> AsyncIterator[Resolver]:
    registry = Registry()
    await registry.open(settings.root / "penult.db")
    try:
        yield Resolver(registry, settings.root, NamedFiles(settings))
    finally:
        await registry.close()


def specs(path: str) -> dict[str, pb.JobSpec]:
    """Requests that name a path, by the fields that do."""
    found = {name: pb.JobSpec() for name in ("weights", "backbone", "path", "architecture", "table")}
    found["weights"].finetune.dataset = found["backbone"].finetune.dataset = "footwear"
    found["weights"].finetune.backbone, found["weights"].finetune.weights = "resnet18", path
    found["backbone"].finetune.backbone = path
    found["path"].import_checkpoint.path, found["path"].import_checkpoint.backbone = path, "resnet18"
    found["architecture"].import_checkpoint.content = "0" * 64
    found["architecture"].import_checkpoint.name, found["architecture"].import_checkpoint.backbone = "x.pth", path
    found["table"].register_dataset.name, found["table"].register_dataset.table = "mine", path
    return found


def refusals(settings: Settings, caller: Caller, path: Path) -> dict[str, str]:
    """The kind of error of each request; empty for one that is accepted."""

    async def ask() -> dict[str, str]:
        CALLER.set(caller)
        said: dict[str, str] = {}
        async with resolver(settings) as resolve:
            for name, spec in specs(str(path)).items():
                try:
                    await resolve.resolve(spec)
                    said[name] = ""
                except ServiceError as error:
                    said[name] = error.kind
        return said

    return asyncio.run(ask())


def test_who_may_name_what(tmp_path: Path):
    store, data, outside = (tmp_path / name for name in ("store", "data", "outside"))
    for folder in (store, data, outside):
        folder.mkdir()
        (folder / "x.pth").write_bytes(b"0" * 100)
    open_to_all, closed = Settings(root=store), Settings(root=store, data_roots=(data,))
    far = Settings(root=store, host="0.0.0.0", insecure=True)
    refused = dict.fromkeys(specs(""), ErrorKind.NOT_ALLOWED)
    # A file is no directory of a model; the others are whatever they are until a worker reads them.
    accepted = dict.fromkeys(specs(""), "") | dict.fromkeys(("backbone", "architecture"), ErrorKind.UNKNOWN_BACKBONE)
    inside, absent = data / "x.pth", outside / "absent.pth"
    cases = [
        *((open_to_all, OWNER, outside / "x.pth", accepted), (open_to_all, OTHER, inside, refused)),
        *((open_to_all, OWNER, store / "x.pth", refused), (far, OWNER, inside, refused)),
        *((closed, caller, inside, accepted) for caller in (OWNER, OTHER)),
        *((closed, caller, one, refused) for caller in (OWNER, OTHER) for one in (outside / "x.pth", absent)),
    ]
    for settings, caller, path, expected in cases:
        assert refusals(settings, caller, path) == expected, (settings, caller, path)


@pytest.mark.timeout(30)
def test_irregular_files_are_refused_at_once(tmp_path: Path):
    (tmp_path / "store").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "model").mkdir()
    os.mkfifo(tmp_path / "model/config.json")
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 2**40)
    settings = Settings(root=tmp_path / "store")
    for path in (tmp_path / "fifo", Path("/dev/zero"), Path("/proc/self/environ")):
        said = refusals(settings, OWNER, path)
        assert said["weights"] == ErrorKind.WEIGHTS_UNAVAILABLE
        assert said["path"] == ErrorKind.FILES_MISSING
    assert refusals(settings, OWNER, tmp_path / "sparse")["weights"] == ErrorKind.TOO_LARGE
    said = refusals(settings, OWNER, tmp_path / "model")
    assert {said[name] for name in ("backbone", "architecture", "path")} == {ErrorKind.INVALID_ARGUMENT}


def test_a_worker_looks_again(tmp_path: Path):
    """Whatever was checked when a job was made, its worker checks what it is told to read."""

    class Nothing:
        def check_cancelled(self) -> None: ...

        def check_held(self) -> None: ...

    for spec in specs(str(tmp_path / "x")).values():
        order = JobOrder(root=str(tmp_path / "store"), spec=spec, data_roots=[str(tmp_path / "data")])
        with pytest.raises(ServiceError) as refused:
            work(order, Nothing(), LocalFleet())
        assert refused.value.kind is ErrorKind.NOT_ALLOWED


def test_what_hangs_is_given_up_and_holds_one_place(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(named_files, "SILENT_SECONDS", 0.2)
    monkeypatch.setattr(named_files, "PLACE_SECONDS", 0.2)
    answers = threading.Event()

    async def ask() -> None:
        CALLER.set(OTHER)
        files = NamedFiles(Settings(root=tmp_path))
        hung = [asyncio.create_task(files.run(answers.wait)) for _ in range(named_files.THREADS - 1)]
        # Others are answered meanwhile, here and in the threads that everybody shares.
        assert await files.run(lambda: 1) == 1
        assert await asyncio.to_thread(lambda: 2) == 2
        for error in await asyncio.gather(*hung, return_exceptions=True):
            assert isinstance(error, ServiceError)
            assert error.kind is ErrorKind.DEADLINE_EXCEEDED
        with pytest.raises(ServiceError) as refused:
            await files.run(answers.wait)
        assert refused.value.kind is ErrorKind.DEADLINE_EXCEEDED
        with pytest.raises(ServiceError) as refused:
            await files.run(lambda: 3)
        assert refused.value.kind is ErrorKind.BUSY
        # The file system answers again.
        answers.set()
        CALLER.set(OWNER)
        assert await files.run(lambda: 4) == 4

    asyncio.run(ask())


def test_a_loop_ends_beside_a_thread_that_hangs(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(named_files, "SILENT_SECONDS", 0.1)
    answers = threading.Event()

    async def ask() -> None:
        with pytest.raises(ServiceError):
            await NamedFiles(Settings(root=tmp_path)).run(answers.wait)

    started = time.monotonic()
    asyncio.run(ask())
    assert time.monotonic() - started < 5
    (thread,) = (one for one in threading.enumerate() if one.name == "named files")
    assert thread.daemon  # the interpreter does not wait for it either
    answers.set()
    thread.join()


def test_slow_work_goes_on_while_it_moves_and_ends_when_nobody_waits(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(named_files, "SILENT_SECONDS", 0.2)
    ended = threading.Event()

    def slowly(beats: int) -> int:
        try:
            for _ in range(beats):
                READING.get().beat()
                threading.Event().wait(0.02)
            return beats
        finally:
            ended.set()

    async def ask() -> None:
        files = NamedFiles(Settings(root=tmp_path))
        assert await files.run(slowly, 30) == 30
        ended.clear()
        waiting = asyncio.create_task(files.run(slowly, 10**9))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await asyncio.to_thread(ended.wait, 10)

    asyncio.run(ask())
