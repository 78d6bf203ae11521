"""What a caller may, beyond the table of roles: asked within handlers, of the call that runs."""

from penult_proto.errors import ErrorKind
from penult_proto.roles import JOB_ROLES, METHOD_ROLES, Role
from penult_proto.v1.cards_pb2 import Card
from penult_server.errors import ServiceError
from penult_server.front.caller import CALLER, Caller

_ROLES = {f"/{service}/{name}": role for service, rows in METHOD_ROLES.items() for name, role in rows.items()}


def check_method(caller: Caller, method: str) -> None:
    """Raise ServiceError (NOT_ALLOWED) for an RPC, by its path, that the caller's role may not call."""
    needed = _ROLES[method]
    if not caller.role.includes(needed):
        raise refusal(caller, method.rpartition("/")[2], needed)


def check_job(kind: str | None) -> None:
    """Raise ServiceError (NOT_ALLOWED) for a kind of job that the caller's role may not ask for."""
    needed = JOB_ROLES.get(kind or "", Role.RUNNER)
    if not CALLER.get().role.includes(needed):
        raise refusal(CALLER.get(), f"a job {kind!r}", needed)


def check_may_compute() -> None:
    """Raise ServiceError (NOT_ALLOWED) for a reader whose answer is not stored."""
    caller = CALLER.get()
    if not caller.role.includes(Role.RUNNER):
        raise ServiceError(
            ErrorKind.NOT_ALLOWED,
            f"this answer is not stored, and {caller.user} is a reader here, who may have what is stored; ask a runner "
            "to compute it once",
            role=caller.role,
            needed=Role.RUNNER,
        )


def check_may_describe(card: Card) -> None:
    """Raise ServiceError (NOT_ALLOWED) for a reader who names, tags or notes a stored answer."""
    if (card.name or card.tags or card.note) and not CALLER.get().role.includes(Role.RUNNER):
        raise refusal(CALLER.get(), "a name, tags or a note", Role.RUNNER)


def check_own(what: str, user: str, caller: Caller) -> None:
    """Raise ServiceError (NOT_ALLOWED) unless the caller is `user`, whom a thing's card names, or an admin."""
    if caller.role.includes(Role.ADMIN) or user == caller.user:
        return
    whose = f"is {user}'s" if user else "has no user"
    raise ServiceError(
        ErrorKind.NOT_ALLOWED,
        f"{what} {whose}, and a {caller.role} may change only what is their own; ask its user or an admin",
        user=user,
        role=caller.role,
    )


def refusal(caller: Caller, what: str, needed: Role) -> ServiceError:
    """Why a role is not enough."""
    return ServiceError(
        ErrorKind.NOT_ALLOWED,
        f"{what} needs the role {needed}, and {caller.user} is {caller.role} here: ask the server's owner for a token "
        "of that role",
        role=caller.role,
        needed=needed,
    )
