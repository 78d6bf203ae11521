"""What the store takes, and how things are taken out of it: ``client.usage()``, and ``delete`` of every collection."""

from collections.abc import Iterable

from penult.arguments.coerce import build, choice, flag
from penult.connection.rpc import Connection
from penult.results.space.deletion import Deletion, StoredThing
from penult.results.space.usage import KindUsage, RunUsage, ThingUsage, Usage, UserUsage
from penult.types import StoredKind
from penult.wire.decode import record, time
from penult_proto.enums import name_or
from penult_proto.v1 import storage_pb2

DELETE_SECONDS = 600.0
"""Default deadline of a deletion: many thousands of files may have to be looked at and removed."""


class Storage:
    """The part of the client that says what the store takes."""

    connection: Connection

    def usage(self, *, things: bool = False, timeout: float = 300.0) -> Usage:
        """What the store takes on its disk: by sort of thing, by run, by user; what is free; when it was last verified.

        Bytes are sizes of files, each once however many links it has; ``usage.bytes`` is their sum over the whole
        store.
        A checkpoint of several runs counts for the oldest of them, feature sets for the run of their checkpoint.
        With `things`, ``usage.things`` has every run, checkpoint, dataset, feature set and grouping, with what the last
        ``penult store verify`` found of it.
        """
        call = self.connection.stubs.storage.GetUsage
        request = storage_pb2.GetUsageRequest(things=flag("things", things))
        return _usage(self.connection.unary(call, request, timeout=timeout))


def delete(
    connection: Connection, kind: StoredKind, id: str, *, dependents: bool, dry_run: bool, timeout: float
) -> Deletion:
    """Delete a thing, or say what that would do."""
    request = build(
        storage_pb2.DeleteRequest,
        kind=choice("kind", kind, storage_pb2.StoredKind),
        id=id,
        dependents=flag("dependents", dependents),
        dry_run=flag("dry_run", dry_run),
    )
    answer = connection.unary(connection.stubs.storage.Delete, request, timeout=timeout)
    return record(
        Deletion,
        answer,
        goes=_things(answer.goes),
        stays=_things(answer.stays),
        in_the_way=_things(answer.in_the_way),
    )


def _things(messages: Iterable[storage_pb2.StoredThing]) -> tuple[StoredThing, ...]:
    return tuple(
        StoredThing(
            kind=name_or(storage_pb2.StoredKind, one.kind, "result"),
            id=one.id,
            names=tuple(one.names),
            bytes=one.bytes,
            reason=one.reason,
        )
        for one in messages
    )


def _usage(message: storage_pb2.Usage) -> Usage:
    return record(
        Usage,
        message,
        kinds=tuple(record(KindUsage, one) for one in message.kinds),
        runs=tuple(record(RunUsage, one) for one in message.runs),
        users=tuple(record(UserUsage, one) for one in message.users),
        verified=time(message.verified),
        things=tuple(
            ThingUsage(
                kind=name_or(storage_pb2.StoredKind, one.kind, "result"),
                id=one.id,
                bytes=one.bytes,
                verified=time(one.verified),
                damage=one.damage,
            )
            for one in message.things
        ),
    )
