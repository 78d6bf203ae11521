"""What one machine says of itself to who looks at a cluster. Runs on every node, and knows nothing of Ray."""

import os
import platform
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penult_server.compute_environment import usable_cores
from penult_server.errors import ServiceError
from penult_server.jobs.fleets.fleet import Json
from penult_server.jobs.fleets.on_nodes import versions
from penult_server.machine.ray_cluster import MODE
from penult_server.stores.places.opening import store_of
from penult_server.stores.writing.kinds import kind_here

CONNECT_SECONDS = 5.0


class Look:
    """A machine's answers. Its own threads and variables stay as they are."""

    def now(self) -> float:
        """What its clock says, seconds."""
        return time.time()

    def look(self, order: Json) -> dict[str, Any]:
        """What it has, and what it reaches: texts that are empty where all is well, None for what was not asked.

        `order`: `root`, the directory of the store; `probe`, a file that the asking machine has just made in it;
        `registry`, host and port of the database, or nothing.
        """
        root = Path(order["root"])
        return {
            "host": platform.node(),
            "versions": versions(),
            "cores": usable_cores(),
            "gpus": gpus(),
            "processor": kind_here().core,
            "has_token_mode": os.environ.get(MODE) == "token",
            "root": _trouble(lambda: _check_root(root, order["probe"])),
            "store": _trouble(lambda: store_of(root).check()),
            "registry": _trouble(lambda: _connect(order["registry"])) if order["registry"] else None,
            "free": {name: _free(path) for name, path in (("root", root), ("tmp", Path(tempfile.gettempdir())))},
        }


def gpus() -> list[str]:
    """Name, memory and driver of each GPU, as NVIDIA's own program says."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else [f"nvidia-smi fails: {done.stdout.strip()}"]


def _check_root(root: Path, probe: str) -> None:
    if not (root / probe).exists():
        raise FileNotFoundError(f"{root} is not there, or not that of the server's machine")
    mine = root / "cache" / f"probe-{secrets.token_hex(16)}"
    mine.write_bytes(b"written")
    try:
        if mine.read_bytes() != b"written":
            raise OSError(f"{mine} does not have what was just written")
    finally:
        mine.unlink()


def _connect(address: tuple[str, int]) -> None:
    with socket.create_connection(address, CONNECT_SECONDS):
        pass


def _free(path: Path) -> int:
    """Free bytes of a disk; -1 where there is none."""
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return -1


def _trouble(check: Callable[[], object]) -> str:
    """How it failed, as a text; empty where it did not."""
    try:
        check()
    except ServiceError as error:
        return error.message
    except OSError as error:
        return str(error)
    return ""
