"""Who asks: set around every call's handler, read wherever it is wanted."""

import getpass
from contextvars import ContextVar
from dataclasses import dataclass

from penult_proto.roles import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """One call's user, as its token says, and the number of the call."""

    user: str
    role: Role
    request_id: str = ""
    is_owner: bool = False
    """Whether it holds the token of the root itself, which the user who runs the server can read."""
    token_id: str = ""
    """Which token was shown: "owner" for that of the root, "certificate" where none was and a certificate was."""


def owner_name() -> str:
    """The user who runs the server."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a number without a name, as in containers
        return "owner"


THE_SERVER = Caller(user="", role=Role.ADMIN, is_owner=True)
CALLER: ContextVar[Caller] = ContextVar("caller", default=THE_SERVER)
"""The caller of the call that runs; by default the server itself."""
