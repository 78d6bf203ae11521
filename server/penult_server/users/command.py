"""`penult token create | list | revoke`: the owner of a root gives access to it, whether a server runs there or not.

The commands write the registry of the root itself: a server that runs notices within a second. So there is no RPC that
makes tokens: who has stolen one cannot make more, and revoking works where no server answers.
"""

import fcntl
import json
import re
import sys
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from penult_proto.errors import ErrorKind
from penult_proto.roles import Role
from penult_server.errors import RegistryUnavailable, ServiceError
from penult_server.registry.database import Database
from penult_server.registry.integrity.files import opened
from penult_server.registry.integrity.place import check_is_file
from penult_server.registry.migrations import HEAD
from penult_server.settings import add_registry
from penult_server.users.tokens import Token, TokenTable

SECONDS = {"m": 60, "h": 3600, "d": 86400}
COLUMNS = ("name", "id", "user", "role", "state", "created", "expires", "last_used")


def add_parser(commands: Any) -> None:
    """Add the command to those of `python -m penult_server`."""
    token = commands.add_parser("token", help="give, list and revoke the tokens of users")
    actions = token.add_subparsers(dest="action", required=True)
    create = actions.add_parser("create", help="make a token and print it, this once")
    create.add_argument("name", help="by which the token is listed and revoked")
    create.add_argument("--user", required=True, help="whose it is; stands on what is made with it")
    create.add_argument("--role", required=True, choices=[role.value for role in Role])
    create.add_argument(
        "--expires", default="90d", metavar="TIME", help="30m, 12h, 90d, or never (default: %(default)s)"
    )
    listed = actions.add_parser("list", help="every token that there is or was; never the secrets")
    listed.add_argument("--json", action="store_true", dest="as_json", help="as JSON")
    revoke = actions.add_parser("revoke", help="end a token, within a second also where it is in use")
    revoke.add_argument("name", help="its name or id")
    for action in (create, listed, revoke):
        action.add_argument("--root", type=Path, required=True, metavar="DIR", help="directory of the store")
        add_registry(action)


def run(options: dict[str, Any]) -> int:
    """Run one of the commands; returns the exit status."""
    action: Callable[[TokenTable, dict[str, Any]], None] = {"create": _create, "list": _list, "revoke": _revoke}[
        options["action"]
    ]
    try:
        with _tokens(options["root"], options["registry"]) as tokens:
            action(tokens, options)
    except ServiceError as error:
        sys.stderr.write(f"penult token: {error.message} [{error.kind}]\n")
        return 1
    except (OSError, RegistryUnavailable) as error:
        sys.stderr.write(f"penult token: the registry of {options['root']} cannot be used: {error}\n")
        return 1
    return 0


def lifetime(said: str) -> float | None:
    """Seconds of "30m", "12h", "90d"; None for "never". Raises ServiceError (INVALID_ARGUMENT)."""
    if said == "never":
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", said)
    if found is None:
        raise ServiceError(ErrorKind.INVALID_ARGUMENT, f"--expires must be like 30m, 12h, 90d, or never; got {said!r}")
    return float(int(found[1]) * SECONDS[found[2]])


def _create(tokens: TokenTable, options: dict[str, Any]) -> None:
    seconds = lifetime(options["expires"])
    expires = None if seconds is None else time.time() + seconds
    made, secret = tokens.create(options["name"], user=options["user"], role=Role(options["role"]), expires=expires)
    until = "until it is revoked" if expires is None else f"until {_date(expires)}"
    sys.stderr.write(f"a {made.role} token for {made.user}, valid {until}; it is shown this once:\n")
    sys.stdout.write(f"{secret}\n")


def _list(tokens: TokenTable, options: dict[str, Any]) -> None:
    rows = [_row(token) for token in tokens.all()]
    if options["as_json"]:
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
        return
    lines = [COLUMNS, *(tuple(str(row[name] or "-") for name in COLUMNS) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def _revoke(tokens: TokenTable, options: dict[str, Any]) -> None:
    ended = tokens.revoke(options["name"])
    sys.stderr.write(f"the token {ended.name!r} of {ended.user} ends within a second\n")


def _row(token: Token) -> dict[str, str | None]:
    times = {name: getattr(token, name) for name in ("created", "expires", "last_used")}
    said = {name: None if at is None else _date(at) for name, at in times.items()}
    return {"name": token.name, "id": token.id, "user": token.user, "role": token.role, "state": token.state, **said}


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


@contextmanager
def _tokens(root: Path, url: str) -> Generator[TokenTable, None, None]:
    """The tokens of a root. Raises ServiceError for none, and for one that a server of another version serves."""
    if url:
        with closing(Database(url)) as database:
            yield TokenTable(database)
        return
    path = root / "penult.db"
    check_is_file(root, "give it by --registry, or by PENULT_REGISTRY")
    if not path.is_file():
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{root} is no store, for it holds no penult.db: the first start of a server there makes it",
        )
    with (root / "lock").open("a") as lock:
        try:
            # While it is held no server starts; one that runs has brought the registry up to date already.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _check_version(path)
        with closing(Database(path)) as database:
            yield TokenTable(database)


def _check_version(path: Path) -> None:
    with opened(path) as file:
        version = file.schema()
    if version != HEAD:
        raise ServiceError(
            ErrorKind.VERSION_MISMATCH,
            f"the server that runs there has a registry of schema {version}, this version {HEAD}: start the "
            "server anew with this version",
        )
