"""From what a call shows, a token or a certificate, to its user."""

import hmac
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from penult_proto.errors import ErrorKind
from penult_proto.roles import Role
from penult_server.errors import ServiceError
from penult_server.front.caller import Caller, owner_name
from penult_server.users.tokens import Token, secret_digest

OWNER, CERTIFICATE = "owner", "certificate"
"""What stands in place of a token's id."""
SCHEME = "Bearer "
NO_TOKEN = (
    "this server needs its token: pass token=... or set PENULT_TOKEN (the owner's is in the file `token` of the "
    "server's root, others are made by `penult token create`); over plain gRPC send the metadata 'authorization: "
    "Bearer TOKEN'"
)


@dataclass(frozen=True, slots=True)
class _Known:
    """A token as it is looked up."""

    digest: str
    caller: Caller
    expires: float = float("inf")
    revoked: bool = False
    name: str = ""


class Authenticator:
    """Knows every token by its sha256, in memory: a call is looked up in microseconds, and waits for nothing."""

    def __init__(self, owner_token: str) -> None:
        caller = Caller(user=owner_name(), role=Role.ADMIN, is_owner=True, token_id=OWNER)
        self._owner = _Known(secret_digest(owner_token), caller)
        self._known: dict[str, _Known] = {}
        self.used: dict[str, float] = {}
        """When tokens, by their ids, were last shown."""
        self.replace([])

    def replace(self, tokens: Iterable[Token]) -> None:
        """Know these tokens, and the owner's, and no others."""
        known = {self._owner.digest: self._owner}
        for token in tokens:
            caller = Caller(user=token.user, role=token.role, token_id=token.id)
            ends = float("inf") if token.expires is None else token.expires
            known[token.sha256] = _Known(token.sha256, caller, ends, token.revoked is not None, token.name)
        self._known = known
        self._by_id = {one.caller.token_id: one for one in known.values()}

    def of_token(self, metadata: Mapping[str, str | bytes]) -> Caller:
        """The user of a call that shows a token. Raises ServiceError (UNAUTHENTICATED)."""
        said = metadata.get("authorization", "")
        if not isinstance(said, str) or not said.startswith(SCHEME):
            raise ServiceError(ErrorKind.UNAUTHENTICATED, NO_TOKEN)
        digest = secret_digest(said[len(SCHEME) :])
        known = self._known.get(digest)
        if known is None or not hmac.compare_digest(known.digest, digest):
            raise ServiceError(ErrorKind.UNAUTHENTICATED, NO_TOKEN)
        now = time.time()
        if known.revoked or now >= known.expires:
            raise ServiceError(ErrorKind.UNAUTHENTICATED, _ended(known), token=known.caller.token_id)
        if known is not self._owner:
            self.used[known.caller.token_id] = now
        request_id = metadata.get("x-request-id", "")
        return replace(known.caller, request_id=request_id if isinstance(request_id, str) else "")

    def of_certificate(self, shown: Mapping[str, Iterable[bytes]], request_id: str) -> Caller:
        """The user whom a certificate names: its common name, or else its one alternative name.

        Its role is the highest of this user's tokens. Raises ServiceError: UNAUTHENTICATED, NOT_ALLOWED.
        """
        names = [*shown.get("x509_common_name", ())] or [*shown.get("x509_subject_alternative_name", ())]
        user = names[0].decode(errors="replace") if len(names) == 1 else ""
        if not user:
            raise ServiceError(
                ErrorKind.UNAUTHENTICATED,
                "there is neither a token nor a certificate that names one user, by its common name or one alternative "
                f"name; {NO_TOKEN}",
            )
        roles = self._roles_of(user)
        if not roles:
            raise ServiceError(
                ErrorKind.NOT_ALLOWED,
                f"the certificate names {user[:64]!r}, who has no valid token here and so no role: its owner gives one "
                "by `penult token create NAME --user USER --role ROLE`",
                user=user[:64],
            )
        role = max(roles, key=list(Role).index)
        return Caller(user=user, role=role, token_id=CERTIFICATE, request_id=request_id)

    def still_knows(self, caller: Caller) -> bool:
        """Whether a caller who was let in would be let in again."""
        if caller.token_id == CERTIFICATE:
            return any(role.includes(caller.role) for role in self._roles_of(caller.user))
        known = self._by_id.get(caller.token_id)
        return known is not None and not known.revoked and time.time() < known.expires

    def _roles_of(self, user: str) -> list[Role]:
        now = time.time()
        valid = (one for one in self._known.values() if one is not self._owner and not one.revoked)
        return [one.caller.role for one in valid if one.caller.user == user and now < one.expires]


def _ended(known: _Known) -> str:
    how = "was revoked" if known.revoked else "has expired"
    return f"the token {known.name!r} of {known.caller.user} {how}: ask the server's owner for another"
