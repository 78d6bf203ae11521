"""How many calls may be in progress, in all and of one user, by what they occupy."""

from dataclasses import dataclass
from enum import StrEnum

from penult_proto.services import SERVICES
from penult_server.lanes import READS_AT_ONCE, UPLOADS_AT_ONCE
from penult_server.settings import Settings


class Lane(StrEnum):
    """What a call occupies while it is in progress."""

    LOOK = "calls"
    """Nothing but the front: it looks something up, asks for a job, or has a stored answer."""
    COMPUTE = "computing calls"
    """A turn in the compute worker, taken once the call turns out to need one."""
    UPLOAD = "uploads"
    READ = "reads of arrays"
    WATCH = "watching calls"
    """A stream that waits for news for most of its life."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Most calls at once, of the server and of one user."""

    server: int
    user: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of one server."""

    calls: Limit = Limit(server=256, user=64)
    """Most of all lanes together, those that watch not counted."""
    computing: Limit = Limit(server=64, user=16)
    together: Limit = Limit(server=256, user=64)
    """Refits that are solved together: they wait in the worker, where the next batch takes them all."""
    uploads: Limit = Limit(server=UPLOADS_AT_ONCE, user=UPLOADS_AT_ONCE // 4)
    reads: Limit = Limit(server=READS_AT_ONCE, user=READS_AT_ONCE // 4)
    watching: Limit = Limit(server=1024, user=512)
    patience: float = 0.25
    """Seconds that a call waits for a slot before it is refused."""
    idle_seconds: float = 60.0
    """How long a stream may stand still because the client neither sends nor reads."""


LANES: dict[str, Lane] = {
    f"/{service.full_name}/{method.name}": Lane.UPLOAD
    if method.name.startswith("Upload")
    else Lane.READ
    if method.name.startswith("Read")
    else Lane.WATCH
    if method.name.startswith(("Watch", "Attach"))
    else Lane.LOOK
    for service in SERVICES.values()
    for method in service.methods
}
"""What every call occupies from its beginning to its end."""


def limits_of(settings: Settings) -> Limits:
    """The bounds that the options of a server say."""
    return Limits(
        calls=Limit(server=settings.max_calls, user=settings.max_calls_per_user),
        computing=Limit(server=settings.max_computing, user=settings.max_computing_per_user),
        together=Limit(server=settings.max_calls, user=settings.max_calls_per_user),
        idle_seconds=settings.idle_seconds,
    )
