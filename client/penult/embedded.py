"""A server of one's own: started when needed, shared by every client of its store, gone with the last one."""

import importlib.util
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc

from penult.client import Client
from penult.coerce import path, seconds
from penult.connecting import client_on
from penult.errors import PenultError, Unauthenticated, Unavailable, from_kind, invalid, shown
from penult.rpc import Connection
from penult.servers import read_record, root_file
from penult_proto.errors import ErrorKind
from penult_proto.v1 import info_pb2

SERVER_NEEDS = ("penult_server", "torch", "zarr", "timm", "grpc_health")
ROOT_IS_TAKEN = 3
"""Exit code of a server whose store another server holds."""
POLL_SECONDS = 0.05
LOG_LINES = 15


def local(root: str | Path, *, timeout: float = 60.0) -> Client:
    """A client of the store in the directory `root`, on this machine.

    A server that serves it already is used; else one is started in a process of its own. It stops by
    itself when its last client has closed or ended; jobs that run then go on when it is next started.

    Parameters
    ----------
    root : directory of the store; made when missing.
    timeout : seconds in which the server must answer.

    Raises
    ------
    InvalidRequest : `root` is no directory, and none can be made there.
    ImportError : the packages that a server needs are not installed.
    Unavailable : the server did not start; the message ends with the last lines of its log.
    VersionMismatch : a server of another version serves this store.
    """
    allowed = seconds(timeout)
    store = _store(root)
    deadline = time.monotonic() + allowed
    child: subprocess.Popen[bytes] | None = None
    while time.monotonic() < deadline:
        client = _running(store, deadline)
        if client is not None:
            return client
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
    raise _did_not_start(store, f"no answer within {allowed:g} s")


def _store(root: str | Path) -> Path:
    """The directory, made when missing. Raises `InvalidRequest`."""
    given = path("root", root)
    try:
        store = Path(given).expanduser().resolve()
        store.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise invalid(f"root must be a directory, or one that can be made; got {shown(given)} ({error})") from None
    return store


def _running(store: Path, deadline: float) -> Client | None:
    """An attached client of the server that serves `store`, or None when none does."""
    record = read_record(root_file(store))
    if record is None:
        return None
    left = max(0.1, deadline - time.monotonic())
    try:
        client = client_on(Connection(record.address, token=record.token), timeout=min(5.0, left))
    except (Unavailable, Unauthenticated):
        # Left behind by a server that was killed; its port may be another's by now.
        return None
    try:
        if Path(client.info().root) == store and attach(client, timeout=left):
            return client
    except Unavailable:
        pass  # it left just now
    client.close()
    return None


def attach(client: Client, *, timeout: float) -> bool:
    """Keep the server alive for as long as `client` is open; False when it is leaving already."""
    connection = client.connection
    call = connection.hold(connection.stubs.info.Attach, info_pb2.AttachRequest())
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
        raise ImportError(f"{what}, which needs {', '.join(missing)}: pip install 'penult[server]'")


def _start(store: Path) -> subprocess.Popen[bytes]:
    require_server("penult.local() starts a server")
    command = [sys.executable, "-m", "penult_server", "serve", "--root", str(store), "--port", "0", "--embedded"]
    with (store / "server.log").open("ab") as log:
        # A session of its own: Ctrl-C in the terminal must not reach it.
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    # It outlives the client that started it, and is reaped when it ends before this process does.
    threading.Thread(target=child.wait, daemon=True).start()
    return child


def _did_not_start(store: Path, reason: str) -> PenultError:
    log = store / "server.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:] if log.exists() else []
    said = "\n  ".join(["", *lines]) if lines else " (it is empty)"
    return from_kind(
        ErrorKind.UNREACHABLE,
        f"the server of {store} did not start ({reason}); the end of {log}:{said}",
        {"root": str(store), "log": str(log)},
    )
