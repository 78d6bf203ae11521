"""Starting the processes of a server: always a fresh interpreter, never a fork of the front."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from penult_server.compute_environment import SHARED_CORES


class Worker(Protocol):
    """A process as asyncio has them, as far as workers are used."""

    @property
    def stdin(self) -> asyncio.StreamWriter | None: ...

    @property
    def stdout(self) -> asyncio.StreamReader | None: ...

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    async def wait(self) -> int: ...

    def kill(self) -> None: ...


async def start_process(
    module: str,
    *arguments: str,
    log: Path | None,
    variables: Mapping[str, str] | None = None,
    stdin: int = asyncio.subprocess.PIPE,
) -> asyncio.subprocess.Process:
    """Run `python -m module arguments` with pipes for input and output and its errors in `log`; None for our own place.

    `variables` are environment variables that it has in addition to ours; `stdin` is a descriptor in place of a pipe.

    The child ends itself when its input closes, which also happens when the front is killed.
    """
    environment = os.environ | {
        **SHARED_CORES,
        "PYTHONUNBUFFERED": "1",
        **(variables or {}),
    }
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") if log is not None else contextlib.nullcontext() as errors:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *arguments,
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env=environment,
            # Ctrl-C in a terminal is for the front, which ends its workers in order.
            start_new_session=True,
        )


async def stop_process(process: Worker, *, grace: float) -> None:
    """Close the process's input, which asks it to end; kill it when it has not after `grace` seconds."""
    if process.returncode is not None:
        return
    if process.stdin:
        process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), grace)
    except TimeoutError:
        process.kill()
        await process.wait()


def log_tail(log: Path, lines: int = 5) -> str:
    """The last lines of a log, for a message."""
    try:
        return " | ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
