"""A Ray cluster as it is seen without Ray: whether it answers, asks for a token, and has a node on this machine."""

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path

import grpc

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError

ADDRESS, MODE, TOKEN, TOKEN_FILE = "RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
PATIENCE = 5.0
"""Seconds that a cluster has to answer; Ray itself says after 20 that a token is wrong."""
PROCESSES = Path("/proc")
_ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"
_HOW = "start every node with RAY_AUTH_MODE=token and one token (`ray get-auth-token --generate`), the server, too"


def check_ray_cluster(variables: Mapping[str, str] = os.environ, patience: float = PATIENCE) -> str:
    """The address of the cluster that these variables name, which lets in who has their token and nobody else.

    Raises ServiceError: INVALID_ARGUMENT for variables that are missing, and where Ray is not installed, NOT_ALLOWED
    for a cluster that takes anyone, UNAUTHENTICATED for one with another token, WORKER_DIED for one that does not
    answer, or has no node here.
    """
    if importlib.util.find_spec("ray") is None:
        raise ServiceError(ErrorKind.INVALID_ARGUMENT, "--engine ray needs Ray: install penult with its extra `ray`")
    address = variables.get(ADDRESS, "")
    if ":" not in address or "://" in address:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"--engine ray needs {ADDRESS}=HOST:PORT, which `ray start --head` prints; got {address!r}",
        )
    token = _token(variables)
    if variables.get(MODE) != "token" or not token:
        raise ServiceError(
            ErrorKind.NOT_ALLOWED, f"whoever reaches a Ray cluster without a token runs code on it: {_HOW}"
        )
    if _answers(address, (), patience):
        raise ServiceError(
            ErrorKind.NOT_ALLOWED,
            f"the Ray cluster at {address} asks for no token, so that whoever reaches it runs code on it: {_HOW}",
        )
    if not _answers(address, (("authorization", f"Bearer {token}"),), patience):
        raise ServiceError(
            ErrorKind.UNAUTHENTICATED, f"the Ray cluster at {address} has another token than this machine: {_HOW}"
        )
    if not has_node():
        raise no_node(address)
    return address


def has_node() -> bool:
    """Whether a node of a cluster, this user's, runs on this machine; yes where that cannot be seen.

    Ray looks for it in the same way, and for a minute: a driver uses the node's memory and its socket.
    """
    if not PROCESSES.is_dir():
        return True
    return any(_program(path) == b"raylet" for path in PROCESSES.glob("[0-9]*/cmdline"))


def no_node(address: str) -> ServiceError:
    """The error of a machine from which a cluster is reached, and that has no node of it."""
    return ServiceError(
        ErrorKind.WORKER_DIED,
        f"the Ray cluster at {address} answers, and this machine is no node of it, as who gives it work must be: "
        f"run `ray start --address {address} --num-cpus 0 --num-gpus 0` here, as this user; it then gets no work",
    )


def _program(command: Path) -> bytes:
    """The name of a process's program; empty for one that has ended, or is not to be seen."""
    try:
        return command.read_bytes().partition(b"\0")[0].rpartition(b"/")[2]
    except OSError:
        return b""


def _token(variables: Mapping[str, str]) -> str:
    """As Ray looks for it: the variable, the file that a variable names, the file in the home."""
    if given := variables.get(TOKEN):
        return given.strip()
    named = variables.get(TOKEN_FILE)
    try:
        return (Path(named) if named else Path.home() / ".ray" / "auth_token").read_text(encoding="utf-8").strip()
    except (OSError, RuntimeError):
        return ""


def _answers(address: str, metadata: tuple[tuple[str, str], ...], patience: float) -> bool:
    """Whether the cluster takes a call with this metadata. Raises ServiceError (WORKER_DIED) when none is answered."""
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(_ALIVE)(b"", timeout=patience, metadata=metadata)
        except grpc.RpcError as error:
            code = error.code()  # pyright: ignore[reportAttributeAccessIssue]
            if code is grpc.StatusCode.UNAUTHENTICATED:
                return False
            raise ServiceError(
                ErrorKind.WORKER_DIED,
                f"the Ray cluster at {address} does not answer ({code.name.lower()}); see that it runs (`ray status`)",
            ) from None
    return True
