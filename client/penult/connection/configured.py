"""The file of servers that a user names: ``~/.config/penult/config.toml``.

[servers.lab]
address = "gpu-box:7711"
tls_ca = "lab.pem"        # relative to this file; or tls = true for a public authority
token_file = "lab.token"  # readable by its owner alone
tls_cert = "me.pem"       # where the server wants a certificate of each client; with tls_key = "me.key"
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from penult.arguments.coerce import path
from penult.errors import invalid, shown

SERVER_KEYS = {"address": str, "tls": bool, "tls_ca": str, "token_file": str, "tls_cert": str, "tls_key": str}
"""What a server's table may hold, and of which type."""
OTHERS_MAY_READ = 0o077
"""Permissions that a file with a token must not give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredServer:
    """How to reach a server that the file names."""

    address: str
    tls: bool = False
    tls_ca: str | None = None
    token_file: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None

    def pair(self, tls_cert: str | Path | None, tls_key: str | Path | None) -> tuple[str, str] | None:
        """The files of the client's certificate and key, arguments before the configuration's.

        Raises `InvalidRequest` for one without the other.
        """
        if tls_cert is None and tls_key is None:
            tls_cert, tls_key = self.tls_cert, self.tls_key
        if tls_cert is None and tls_key is None:
            return None
        if tls_cert is None or tls_key is None:
            raise invalid("tls_cert and tls_key go together: give both or none")
        return path("tls_cert", tls_cert), path("tls_key", tls_key)


def config_file() -> Path:
    """Where the file of servers is: in ``$XDG_CONFIG_HOME``, else in ``~/.config``."""
    config = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(config) / "penult" / "config.toml"


def configured_server(name: str) -> ConfiguredServer:
    """The server of a name. Raises `InvalidRequest`: the file is damaged, or names no such server (listing those)."""
    path = config_file()
    servers = _servers(path)
    if name not in servers:
        known = f"it names {', '.join(sorted(servers))}" if servers else "which names none"
        raise invalid(
            f"{shown(name)} is neither host:port nor a server in {path}, {known}; add it there:\n"
            f'[servers.{name}]\naddress = "host:port"',
            address=name,
        )
    table = servers[name]
    if not isinstance(table, dict):
        raise _damaged(path, f"servers.{name} must be a table")
    entries = cast("dict[str, Any]", table)
    for key, value in entries.items():
        expected = SERVER_KEYS.get(key)
        if expected is None:
            raise _damaged(path, f"servers.{name} has no key {shown(key)}; one of {', '.join(SERVER_KEYS)}")
        if type(value) is not expected:
            raise _damaged(path, f"servers.{name}.{key} must be a {expected.__name__}, got {shown(value)}")
    if "address" not in entries:
        raise _damaged(path, f'servers.{name} needs address = "host:port"')
    for key in ("tls_ca", "token_file", "tls_cert", "tls_key"):
        if key in entries:
            entries[key] = str(path.parent / Path(entries[key]).expanduser())
    return ConfiguredServer(**entries)


def token_in(file: str) -> str:
    """The token in a file. Raises `InvalidRequest` for one that cannot be read or that others may read."""
    path = Path(file)
    try:
        if path.stat().st_mode & OTHERS_MAY_READ:
            raise invalid(f"others may read {path}, which holds a token; run: chmod 600 {path}")
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise invalid(f"token_file must be a file with the server's token; got {shown(file)} ({error})") from None


def _servers(path: Path) -> dict[str, Any]:
    """The tables below ``servers``; none without a file."""
    import tomllib  # few programs name a server

    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _damaged(path, str(error)) from None
    servers: object = content.get("servers", {})
    if not isinstance(servers, dict):
        raise _damaged(path, "servers must be a table of tables")
    return cast("dict[str, Any]", servers)


def _damaged(path: Path, what: str) -> Exception:
    return invalid(f"{path} cannot be used: {what}")
