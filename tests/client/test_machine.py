"""What `penult doctor` says of a store's machine, from what is there."""

import os
import time
from collections import namedtuple
from pathlib import Path

import pytest

from penult import machine


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for name in ("token", "server.json"):
        (tmp_path / name).write_text("{}")
        (tmp_path / name).chmod(0o600)
    return tmp_path


def found(store: Path) -> dict[str, machine.Finding]:
    return {one.topic: one for one in machine.look_at_store(store)}


def test_a_store_in_order(store: Path) -> None:
    findings = found(store)
    assert set(findings) == {"disk", "clock", "space", "secrets"}
    assert findings["secrets"].said == "2 files, readable by their owner alone"
    assert findings["clock"].good
    assert findings["disk"].said.startswith("50 flushes of 4 KiB: median ")
    assert sorted(os.listdir(store)) == ["server.json", "token"]  # nothing is left behind


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_token_that_others_can_read_is_serious(store: Path, mode: int) -> None:
    (store / "token").chmod(mode)
    secrets = found(store)["secrets"]
    assert secrets.serious
    assert not secrets.good
    assert f"chmod 600 {store / 'token'}" in secrets.said


def test_a_slow_disk_is_told(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_sync", lambda descriptor: 0.2)
    disk = found(store)["disk"]
    assert (disk.good, disk.serious) == (False, False)
    assert "p99 200.0 ms" in disk.said


def test_a_store_that_cannot_be_written_is_serious(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> float:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(machine, "_sync", refuse)
    disk = found(store)["disk"]
    assert disk.serious
    assert not disk.good


def test_a_wrong_clock_is_told(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    for shift, said in ((60, "60 s apart from that of the store's disk"), (-40 * 365 * 86400, "that is past")):
        monkeypatch.setattr(time, "time", lambda shift=shift: real() + shift)
        clock = found(store)["clock"]
        assert not clock.good
        assert said in clock.said


def test_a_disk_that_fills_is_told(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = namedtuple("disk", "total used free")
    for free, good, serious in ((20 * 2**30, True, False), (2**30, False, False), (0, False, True)):
        monkeypatch.setattr(machine.shutil, "disk_usage", lambda path, free=free: disk(2**40, 0, free))
        space = found(store)["space"]
        assert (space.good, space.serious) == (good, serious)


def test_a_store_that_is_not_there_yet(tmp_path: Path) -> None:
    (store,) = machine.look_at_store(tmp_path / "none")
    assert store.good


def test_threads_are_told() -> None:
    assert " cores" in machine.threads().said
