"""What killed servers leave is cleaned by its rule, and nothing that is used."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from penult_proto.v1 import catalog_pb2, spectra_pb2
from penult_server.front import cleaning
from penult_server.front.access import RootLock
from penult_server.front.cleaning import (
    OwnFolder,
    keep_clean,
    remove_left_addresses,
    remove_left_folders,
    remove_old_staging,
)
from penult_server.front.registry_thread import Registry
from penult_server.registry.cards import Given

LONG_AGO = time.time() - 40 * 86400


def aged(path: Path) -> Path:
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def test_folders_of_the_killed_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    mine = OwnFolder()
    code = (
        "import os, signal\n"
        "from penult_server.front.cleaning import OwnFolder\n"
        "folder = OwnFolder(); (folder.path / '1.sock').touch(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    (killed,) = set(tmp_path.iterdir()) - {mine.path}
    for name in ("penult-ranks-new", "penult-ranks-old", "penult-old", "penult-mine", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "penult-mine" / "thesis.tex").write_text("years of work")
    aged(tmp_path / "penult-mine" / "thesis.tex")
    for name in ("penult-ranks-old", "penult-old", "penult-mine", "other"):
        aged(tmp_path / name)
    (tmp_path / "penult-link").symlink_to(tmp_path / "other")
    gone = {killed, tmp_path / "penult-ranks-old", tmp_path / "penult-old"}
    assert set(remove_left_folders(tmp_path)) == gone
    assert {path.name for path in tmp_path.iterdir()} == {
        mine.path.name,
        "penult-ranks-new",
        "penult-mine",
        "penult-link",
        "other",
    }
    mine.remove()
    assert not mine.path.exists()


def test_address_files_of_servers_that_are_gone_are_removed(tmp_path: Path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    servers = tmp_path / "servers"
    servers.mkdir()

    def record(name: str, root: Path, pid: int) -> Path:
        (servers / f"{name}.json").write_text(json.dumps({"root": str(root), "pid": pid, "token": "secret"}))
        return servers / f"{name}.json"

    for name in ("killed", "used", "again"):
        (tmp_path / name).mkdir()
    lock = RootLock(tmp_path / "used", patience=0)
    RootLock(tmp_path / "killed", patience=0).release()
    killed = record("1", tmp_path / "killed", ended.pid)
    record("2", tmp_path / "used", ended.pid)
    record("3", tmp_path / "again", os.getpid())
    record("4", tmp_path / "of-another-machine", ended.pid)
    old = aged(record("5", tmp_path / "gone", ended.pid))
    (servers / "6.json").write_text("no record")
    assert set(remove_left_addresses(servers)) == {killed, old}
    assert sorted(path.name for path in servers.iterdir()) == ["2.json", "3.json", "4.json", "6.json"]
    lock.release()


def test_staging_that_nobody_writes_any_more_goes(tmp_path: Path):
    left, used = tmp_path / "features" / ".staging-left", tmp_path / "features" / ".staging-used"
    for path in (left, used):
        (path / "y").mkdir(parents=True)
        (path / "y" / "0").write_text("x")
        aged(path / "y")
        aged(path)
    aged(left / "y" / "0")
    assert remove_old_staging(tmp_path) == [left]
    assert used.exists()


def test_answers_that_nobody_asks_for_go_with_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def go() -> None:
        registry = Registry()
        await registry.open(tmp_path / "penult.db")
        run, catalog = registry.run, registry.catalog
        for digest, given in (("a" * 64, Given()), ("b" * 64, Given(name="mine")), ("c" * 64, Given())):
            await run(catalog.add_result, digest, "spectra", spectra_pb2.Spectra(), given)
        now = time.time()
        # What other processes of this machine have now is no leftover, whatever the clock says here.
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        monkeypatch.setattr(cleaning, "places", list[str])
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        monkeypatch.setattr(time, "time", lambda: now + 40 * 86400)
        assert await run(catalog.result, "c" * 64, "spectra") is not None
        cleaner = asyncio.create_task(keep_clean(tmp_path, registry, 30))
        listed = set("abc")
        while "a" in listed:
            page, _ = await run(catalog.result_page, catalog_pb2.ListResultsRequest(), 9)
            listed = {one.digest[0] for one in page}
        assert listed == {"b", "c"}
        cleaner.cancel()
        await registry.close()

    asyncio.run(asyncio.wait_for(go(), 60))
    assert (tmp_path / "penult.db.copy").exists()
