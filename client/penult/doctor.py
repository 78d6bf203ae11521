"""``penult doctor``: what is installed, what can be reached, and what to do about the rest."""

import importlib.util
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from penult.connecting import connect, looking
from penult.connection.embedded import SERVER_NEEDS
from penult.connection.handshake import DEFAULT_ADDRESS
from penult.connection.rpc import is_loopback
from penult.connection.servers import read_record, root_file, state_file
from penult.errors import PenultError, install
from penult_proto import PROTOCOL

PLOT_NEEDS = ("matplotlib", "pandas")


def examine(address: str | None, root: Path | None, token: str | None) -> int:
    """Print what there is, line by line; returns 0 when a server answers, else 1."""
    lines = [f"python       {platform.python_version()} ({sys.executable})"]
    lines += [f"{name:<12} {installed(name)}" for name in ("penult", "grpcio", "protobuf", "numpy")]
    lines += [f"protocol     {PROTOCOL}", _extra("server", SERVER_NEEDS), _extra("plot", PLOT_NEEDS)]
    target = address or DEFAULT_ADDRESS
    record = root_file(root.resolve()) if root else state_file(target.rpartition(":")[2])
    if root is not None or is_loopback(target):
        state = "found" if read_record(record) else "none"
        lines.append(f"token file   {record}: {state}")
    reached, said = _reach(target, root, token)
    lines.append(f"server       {said}")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if reached else 1


def installed(package: str) -> str:
    """The version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _extra(name: str, needs: tuple[str, ...]) -> str:
    missing = [package for package in needs if importlib.util.find_spec(package) is None]
    state = f"{', '.join(missing)} missing; {install(name)}" if missing else "installed"
    return f"{'[' + name + ']':<12} {state}"


def _reach(address: str, root: Path | None, token: str | None) -> tuple[bool, str]:
    try:
        with looking(root) if root is not None else connect(address, token=token) as client:
            info = client.info()
    except (PenultError, ImportError) as error:
        return False, f"not reached: {error}"
    device = info.device or "compute worker not started yet"
    return True, (
        f"penult {info.version} on {device} ({info.array_backend or 'no backend yet'}), store {info.root}: "
        f"{info.n_feature_sets} feature sets, {info.n_checkpoints} checkpoints, {info.n_results} answers"
    )
