"""Tokens of users: each a row of the registry, which keeps the sha256 of a secret that is shown once."""

import hashlib
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penult_proto.errors import ErrorKind
from penult_proto.roles import Role
from penult_server.errors import ServiceError, unknown
from penult_server.registry.database import Database
from penult_server.registry.tables import token as tokens

PREFIX = "pen_"
"""By which scanners for secrets find tokens."""
MOST_NAME = 64
_COLUMNS = ("id", "name", "sha256", "user", "role", "created", "expires", "last_used", "revoked")


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What the registry knows of a token; times are in seconds since 1970."""

    id: str
    name: str
    sha256: str
    user: str
    role: Role
    created: float
    expires: float | None
    last_used: float | None
    revoked: float | None

    @property
    def state(self) -> str:
        """In a word: valid, revoked or expired."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and time.time() >= self.expires else "valid"


def secret_digest(secret: str) -> str:
    """Under which a secret is kept. It has 256 random bits: a slow digest would protect nothing more."""
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()


class TokenTable:
    """Reads and writes tokens. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def version(self) -> str:
        """Another text whenever another process has written to the registry."""
        return self._database.tokens_version()

    def all(self) -> list[Token]:
        """Every token that there is or was, the oldest first; one whose row was altered is none."""
        query = tokens.select().with_only_columns(*(tokens.c[name] for name in _COLUMNS))
        query = query.order_by(tokens.c.created, tokens.c.rowid)
        rows = self._database.rows(self._database.checking(tokens, query))
        return [_token(row[: len(_COLUMNS)]) for row in rows if self._database.is_intact(row)]

    def create(self, name: str, *, user: str, role: Role, expires: float | None) -> tuple[Token, str]:
        """A new token, and its secret, which is kept nowhere. Raises ServiceError: INVALID_ARGUMENT, NAME_TAKEN."""
        for what, said in (("name", name), ("user", user)):
            if not 1 <= len(said) <= MOST_NAME or not said.isprintable() or said != said.strip():
                raise ServiceError(
                    ErrorKind.INVALID_ARGUMENT,
                    f"{what} must be 1 to {MOST_NAME} printable characters, no space at either end; got {said[:80]!r}",
                )
        if expires is not None and expires <= time.time():
            raise ServiceError(ErrorKind.INVALID_ARGUMENT, "a token must expire after now")
        secret = PREFIX + secrets.token_urlsafe(32)
        id = uuid.uuid4().hex[:12]
        with self._database.transaction() as connection:
            query = tokens.select().where(tokens.c.name == name, tokens.c.revoked.is_(None))
            if connection.execute(query).first():
                raise ServiceError(
                    ErrorKind.NAME_TAKEN, f"there is a token {name!r} already: revoke it or choose another name"
                )
            values = (id, name, secret_digest(secret), user, role.value, time.time(), expires)
            connection.execute(tokens.insert().values(dict(zip(_COLUMNS, values, strict=False))))
        return next(one for one in self.all() if one.id == id), secret

    def revoke(self, name: str) -> Token:
        """End a token, by its name or id. Raises ServiceError (INVALID_ARGUMENT), which lists those that are left."""
        valid = [one for one in self.all() if one.revoked is None]
        found = next((one for one in valid if name in (one.name, one.id)), None)
        if found is None:
            raise unknown(ErrorKind.INVALID_ARGUMENT, "token", name, [one.name for one in valid])
        with self._database.transaction() as connection:
            connection.execute(tokens.update().where(tokens.c.id == found.id).values(revoked=time.time()))
        return next(one for one in self.all() if one.id == found.id)

    def note_used(self, used: Mapping[str, float]) -> None:
        """Write down when tokens, by their ids, were last shown."""
        with self._database.transaction() as connection:
            for id, at in used.items():
                connection.execute(tokens.update().where(tokens.c.id == id).values(last_used=at))


def _token(row: "tuple[Any, ...]") -> Token:
    id, name, sha256, user, role, created, expires, last_used, revoked = row
    times = [float(one) if one else None for one in (expires, last_used, revoked)]
    return Token(
        id=id,
        name=name,
        sha256=sha256,
        user=user,
        role=Role(role),
        created=float(created),
        expires=times[0],
        last_used=times[1],
        revoked=times[2],
    )
