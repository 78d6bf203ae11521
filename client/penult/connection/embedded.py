"""A server of one's own: started when needed, shared by all clients of its store, gone with the last and its jobs."""

import importlib.util
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

import grpc

from penult.arguments.coerce import path
from penult.connection.handshake import check_server
from penult.connection.rpc import Connection
from penult.connection.servers import read_record, root_file
from penult.errors import PenultError, Unauthenticated, Unavailable, from_kind, install, invalid, shown
from penult.results.records import Info
from penult_proto.errors import ErrorKind
from penult_proto.v1 import info_pb2

SERVER_NEEDS = ("penult_server", "torch", "zarr", "timm", "grpc_health", "prometheus_client", "pythonjsonlogger")
ROOT_IS_TAKEN = 3
"""Exit code of a server whose store another server holds."""
POLL_SECONDS = 0.05
LOG_LINES = 15


def attached_server(root: str | Path, *, timeout: float, look: bool = False) -> tuple[Connection, Info]:
    """A connection that keeps alive the server of the store in `root`, which is started where none runs.

    With `look`, a server that nobody else uses starts no job that waits. Raises what `penult.local` raises.
    """
    store = _store(root)
    deadline = time.monotonic() + timeout
    child: subprocess.Popen[bytes] | None = None
    while time.monotonic() < deadline:
        running = _running(store, deadline, look=look)
        if running is not None:
            return running
        if child is None:
            child = _start(store)
        elif child.poll() is not None:
            # 0: it served other clients and left with the last before this one came; 3: another server
            # holds the store, and its address is about to be written, or it is just leaving. Look again.
            if child.returncode not in (0, ROOT_IS_TAKEN):
                raise _did_not_start(store, f"exit code {child.returncode}")
            child = None
        time.sleep(POLL_SECONDS)
    if child is not None and child.poll() is None:
        child.terminate()
    raise _did_not_start(store, f"no answer within {timeout:g} s")


def _store(root: str | Path) -> Path:
    """The directory, made when missing. Raises `InvalidRequest`."""
    given = path("root", root)
    try:
        store = Path(given).expanduser().resolve()
        store.mkdir(parents=True, exist_ok=True, mode=0o700)
    except (OSError, RuntimeError, ValueError) as error:
        raise invalid(f"root must be a directory, or one that can be made; got {shown(given)} ({error})") from None
    return store


def _running(store: Path, deadline: float, *, look: bool) -> tuple[Connection, Info] | None:
    """An attached connection to the server that serves `store`, or None when none does."""
    record = read_record(root_file(store))
    if record is None:
        return None
    left = max(0.1, deadline - time.monotonic())
    connection = Connection(record.address, token=record.token)
    try:
        info = check_server(connection, timeout=min(5.0, left))
    except (Unavailable, Unauthenticated):
        # Left behind by a server that was killed; its port may be another's by now.
        return None
    if Path(info.root) == store and attach(connection, timeout=left, look=look):
        connection.root = store
        return connection, info
    connection.close()  # of another store, or it is leaving
    return None


def attach(connection: Connection, *, timeout: float, look: bool = False) -> bool:
    """Keep the server alive for as long as `connection` is open; False when it is leaving already."""
    call = connection.hold(connection.stubs.info.Attach, info_pb2.AttachRequest(look=look))
    timer = threading.Timer(timeout, call.cancel)
    timer.daemon = True
    timer.start()
    try:
        next(call)
    except (grpc.RpcError, StopIteration):
        return False
    finally:
        timer.cancel()
    return True


def require_server(what: str) -> None:
    """Raise ImportError, naming what is missing, unless a server can run here."""
    missing = [name for name in SERVER_NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"{what}, which needs {', '.join(missing)}: {install('server')}")


def _start(store: Path) -> subprocess.Popen[bytes]:
    require_server("penult.local() starts a server")
    command = [sys.executable, "-m", "penult_server", "serve", "--root", str(store), "--port", "0", "--embedded"]
    with _opened_log(store) as log:
        # A session of its own: Ctrl-C in the terminal must not reach it.
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    # It outlives the client that started it, and is reaped when it ends before this process does.
    threading.Thread(target=child.wait, daemon=True).start()
    return child


def _opened_log(store: Path) -> IO[bytes]:
    """Where the server's words go. Raises `InvalidRequest` for a store that this user cannot write to."""
    try:
        return open(store / "server.log", "ab", opener=lambda path, flags: os.open(path, flags, 0o600))
    except OSError as error:
        raise invalid(
            f"root must be a directory that this user can write to; got {shown(str(store))} ({error})"
        ) from None


def _did_not_start(store: Path, reason: str) -> PenultError:
    log = store / "server.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:] if log.exists() else []
    said = "\n  ".join(["", *lines]) if lines else " (it is empty)"
    return from_kind(
        ErrorKind.UNREACHABLE,
        f"the server of {store} did not start ({reason}); the end of {log}:{said}",
        {"root": str(store), "log": str(log)},
    )
