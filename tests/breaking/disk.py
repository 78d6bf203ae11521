"""A disk that is watched: every call by which this process changes files below a root is counted, and can go wrong.

What is watched are the functions of `os`, `io.open` and the commits of SQLite; SQLite's own writing is trusted
(`synchronous=FULL`), so a commit is one step. Libraries that write by themselves are led through `io.open`. For
processes that end after one trial: nothing is put back.
"""

import builtins
import errno
import io
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.numpy
import safetensors.torch

KILLED = 86
"""Exit status of a process that was stopped."""
LASTS_SECONDS = 0.3
TAKES_SPACE = ("create", "write", "mkdir", "link", "commit")
FAILING = {
    "ENOSPC": TAKES_SPACE,
    "EIO": ("create", "write", "mkdir", "rename", "unlink", "fsync", "commit"),
    "EFBIG": ("write", "commit"),
}
"""Steps that an error comes from."""
SQLITE_ERRORS = {
    "ENOSPC": ("database or disk is full", sqlite3.SQLITE_FULL),
    "EIO": ("disk I/O error", sqlite3.SQLITE_IOERR),
    "EFBIG": ("disk I/O error", sqlite3.SQLITE_IOERR_WRITE),
}


@dataclass
class Fault:
    """What goes wrong, and where."""

    how: str = ""
    """ "kill" ends the process, "ENOSPC" and so on are errors of one step; "" is nothing."""
    at: int = -1
    """Number of the step, from 0."""
    lasts: bool = False
    """Whether every later step of the kinds in `FAILING` fails, too, until `Disk.mend`, which comes by itself
    `LASTS_SECONDS` after the first."""


@dataclass
class Disk:
    """The steps so far. `steps` names each by its kind and its file."""

    root: Path
    fault: Fault
    keep: bool = False
    """Whether `recorded` has what each step did, for replays."""
    steps: list[str] = field(default_factory=list)
    recorded: list[tuple[Any, ...]] = field(default_factory=list)
    _lock: Any = field(default_factory=threading.RLock)

    def mend(self) -> None:
        """Nothing goes wrong any more."""
        self.fault = Fault()

    def watch(self) -> None:
        """Stand between this process and its disk, from now on."""
        shutil._use_fd_functions = False  # so that trees are removed by paths
        for name in ("rename", "replace", "unlink", "remove", "mkdir", "rmdir", "link"):
            setattr(os, name, self._step_of(name, getattr(os, name)))
        real_fsync, real_open = os.fsync, os.open
        os.fsync = lambda descriptor: self._fsync(descriptor)
        os.fdatasync = os.fsync
        os.open = lambda path, flags, *args, **options: self._os_open(real_open, path, flags, *args, **options)
        self._real_fsync = real_fsync
        builtins.open = io.open = self._open_with(io.open)
        safetensors.numpy.serialize_file = safetensors.torch.serialize_file = _serialize_file
        connect = sqlite3.connect
        sqlite3.connect = lambda *args, **options: connect(*args, factory=self._connections(), **options)

    def acknowledge(self, what: str) -> None:
        """Somebody was told something, at this place among the steps."""
        with self._lock:
            if self.keep:
                self.recorded.append(("ack", what))

    def step(self, kind: str, path: str | None, act: Callable[[], Any], *details: Any, torn: Any = None) -> Any:
        """Do one thing to the disk, unless it goes wrong now. `torn` does a part of it."""
        if path is None:
            return act()
        with self._lock:
            number = len(self.steps)
            self.steps.append(f"{kind} {path}")
            fault = self.fault
            if fault.how == "kill" and number >= fault.at:
                if torn:
                    torn()
                os._exit(KILLED)
            is_hit = number == fault.at or (fault.lasts and number > fault.at)
            if is_hit and kind in FAILING.get(fault.how, ()):
                if fault.lasts and number == fault.at:
                    threading.Timer(LASTS_SECONDS, self.mend).start()
                if torn and kind == "write":
                    torn()
                raise _error(fault.how, kind)
            result = act()
            if self.keep:
                self.recorded.append((kind, path, *(one() if callable(one) else one for one in details)))
            return result

    def below(self, path: Any) -> str | None:
        """The path below the root, "." for the root; None for one that is not."""
        if isinstance(path, int):
            return None
        text = os.path.abspath(os.fsdecode(path))
        if text == str(self.root):
            return "."
        root = f"{self.root}{os.sep}"
        return text.removeprefix(root) if text.startswith(root) else None

    def _step_of(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        kind = {"replace": "rename", "remove": "unlink"}.get(name, name)

        def call(path: Any, *rest: Any, **options: Any) -> Any:
            others = [self.below(rest[0])] if kind in ("rename", "link") else []
            if (kind == "mkdir" and os.path.isdir(path)) or (kind == "unlink" and not os.path.lexists(path)):
                return real(path, *rest, **options)
            return self.step(kind, self.below(path), lambda: real(path, *rest, **options), *others)

        return call

    def _fsync(self, descriptor: int) -> None:
        path = self.below(os.readlink(f"/proc/self/fd/{descriptor}"))
        # The pages of a killed process stay: nothing has to wait for the disk itself.
        self.step("fsync", path, lambda: None)

    def _os_open(self, real: Callable[..., int], path: Any, flags: int, *args: Any, **options: Any) -> int:
        place = self.below(path) if flags & os.O_CREAT else None
        if place is None:
            return real(path, flags, *args, **options)
        return self.step("create", place, lambda: real(path, flags, *args, **options), "x")

    def _open_with(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, mode: str = "r", buffering: int = -1, *args: Any, **options: Any) -> Any:
            place = self.below(file) if set(mode) & set("wax+") else None
            if place is None:
                return real(file, mode, buffering, *args, **options)
            plain = mode.replace("b", "").replace("t", "")
            raw = self.step("create", place, lambda: _WatchedFile(self, place, file, plain), plain)
            if buffering == 0:
                return raw
            buffered = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
            if "b" in mode:
                return buffered
            return io.TextIOWrapper(buffered, *args, **options)

        return call

    def _connections(self) -> type[sqlite3.Connection]:
        disk = self

        class Watched(sqlite3.Connection):
            def execute(self, sql: str, *args: Any) -> Any:
                act = super().execute
                if sql != "COMMIT":
                    return act(sql, *args)
                return disk.step("commit", "penult.db", lambda: act(sql), lambda: bytes(self.serialize()))

        return Watched


class _WatchedFile(io.FileIO):
    """A file whose writes are steps."""

    def __init__(self, disk: Disk, place: str, file: Any, mode: str) -> None:
        super().__init__(file, mode)
        self._disk, self._place = disk, place

    def write(self, data: Any) -> int:
        content = bytes(data)
        at = os.fstat(self.fileno()).st_size if "a" in self.mode else self.tell()
        write = super().write
        return self._disk.step(
            "write", self._place, lambda: write(content), at, content, torn=lambda: write(content[: len(content) // 2])
        )


def _serialize_file(tensors: Any, filename: Any, metadata: Any = None) -> None:
    with open(filename, "wb") as file:
        file.write(safetensors.serialize(tensors, metadata=metadata))


def _error(how: str, kind: str) -> Exception:
    if kind != "commit":
        return OSError(getattr(errno, how), os.strerror(getattr(errno, how)))
    message, code = SQLITE_ERRORS[how]
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    return error
