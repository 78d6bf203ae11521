"""The small files in which servers on this machine say how to reach them."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRecord:
    """What a running server wrote, readable by its owner only."""

    address: str
    token: str
    pid: int
    root: str
    protocol: int
    version: str


def read_record(path: Path) -> ServerRecord | None:
    """The record in a file; None when there is no file, or none that is a record."""
    try:
        content: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict):
        return None
    fields = cast("dict[str, Any]", content)
    try:
        return ServerRecord(
            address=str(fields["address"]),
            token=str(fields["token"]),
            pid=int(fields["pid"]),
            root=str(fields["root"]),
            protocol=int(fields["protocol"]),
            version=str(fields["version"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def state_file(port: str) -> Path:
    """Where a server on `port` of this machine leaves its record for the same user."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "penult" / "servers" / f"{port}.json"


def root_file(root: Path) -> Path:
    """Where the server of a store leaves its record."""
    return root / "server.json"
