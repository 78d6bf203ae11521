"""With 0 bytes free things are listed, cancelled and deleted, and a server starts."""

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penult_proto.v1 import catalog_pb2, jobs_pb2, refits_pb2, runs_pb2
from penult_server.errors import RegistryUnavailable, ServiceError
from penult_server.front.registry_thread import Registry
from penult_server.registry.database import Database
from penult_server.registry.deletion_plan import Sort
from penult_server.stores.disk.reserve import RESERVE_BYTES, Reserve, free_bytes


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"only root can mount a small disk: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(disk: Path) -> None:
    """Take the last bytes."""
    for block in (2**20, 4096):
        with (disk / "ballast").open("ab", buffering=0) as file:
            try:
                while file.write(b"\0" * block) == block:
                    pass
            except OSError:
                continue
    assert free_bytes(disk) == 0


def refusal_of(call: Callable[[], None]) -> ServiceError | None:
    try:
        call()
    except ServiceError as error:
        return error
    return None


async def fill_the_log(registry: Registry) -> None:
    """Also the bytes that SQLite's log has on the disk already."""
    answer = refits_pb2.Refit(digest=os.urandom(20_000).hex())

    async def add_for_ever() -> None:
        while True:
            await registry.run(registry.catalog.add_result, os.urandom(32).hex(), "refit", answer)

    with pytest.raises(RegistryUnavailable, match="full"):
        await add_for_ever()


def test_cancel_list_and_delete_with_no_byte_free_also_after_a_restart(disk: Path) -> None:
    async def go() -> None:
        registry = Registry()
        await registry.open(disk / "penult.db")
        run = registry.run
        spec = jobs_pb2.JobSpec(finetune=runs_pb2.FinetuneSpec(dataset="d"))
        jobs = [await run(registry.jobs.create, spec, f"{index}", "", 99) for index in range(3)]
        registry.deletions.reserve.keep()
        fill(disk)
        await fill_the_log(registry)
        for restarted in (False, True):
            if restarted:
                await registry.close()
                fill(disk)
                # SQLite may still have what it needs from before; else it is said what is missing.
                if (refusal := refusal_of(lambda: Database(disk / "penult.db").close())) is not None:
                    assert "its disk is full" in refusal.message
                Reserve(disk).release_if_full()
                registry = Registry()
                await registry.open(disk / "penult.db")
                run = registry.run
                registry.deletions.reserve.keep()
                fill(disk)
                await fill_the_log(registry)
            job = jobs[restarted]
            ended = await registry.run_when_full(registry.jobs.ask_to_cancel, job.id)
            assert ended.state == jobs_pb2.JOB_STATE_CANCELLED
            listed = await run(registry.jobs.list, [], 9)
            assert {one.id: one.state for one in listed}[job.id] == jobs_pb2.JOB_STATE_CANCELLED
            await fill_the_log(registry)
            digest = (await run(registry.catalog.result_page, catalog_pb2.ListResultsRequest(), 1))[0][0].digest
            plan = await run(registry.deletions.planner.plan, Sort.RESULT, digest, dependents=False)
            await run(registry.deletions.execute, plan)
            await run(registry.deletions.reserve.keep)
        await registry.close()

    asyncio.run(go())


def test_the_reserve_is_as_large_as_there_is_space(disk: Path) -> None:
    reserve = Reserve(disk)
    reserve.keep()
    assert (disk / "reserve").stat().st_size == RESERVE_BYTES
    fill(disk)
    reserve.keep()
    assert (disk / "reserve").stat().st_size == RESERVE_BYTES
    reserve.release_if_full()
    assert free_bytes(disk) == RESERVE_BYTES
    with (disk / "more").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES // 2)
    reserve.keep()
    assert 2**20 < (disk / "reserve").stat().st_size < RESERVE_BYTES // 2
    assert free_bytes(disk) > 0
