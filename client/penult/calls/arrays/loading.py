"""Features in files on this machine, uploaded in pieces."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penult.calls.waiting.queries import uploading
from penult.connection.rpc import Connection
from penult.files.loading import Wanted, loaded
from penult.files.sources import open_source
from penult.results.heads import Head, HeadArrays
from penult.results.notes import Note, Notes
from penult.results.records import FeatureSet
from penult.wire.transfer import upload_messages
from penult.wire.uploads import Upload, prepare
from penult_proto.notes import NoteId
from penult_proto.pieces.uploads import UploadMessage
from penult_proto.v1 import cards_pb2

MOST_GROUPS = 24
"""Most groups that a note counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What the caller says of the labels and the head, where the file does not, or otherwise than it does."""

    head: Head | HeadArrays | None
    classes: Sequence[str | int] | None
    attribute: str | None
    attribute_values: Sequence[str | int] | None
    train_counts: Mapping[Any, int] | None


@contextmanager
def opened_upload(
    path: str | Path, metadata: str | Path | None, wanted: Wanted, named: Named
) -> Generator[tuple[Upload, Notes, bool]]:
    """An upload whose large arrays are read from the file while it is sent, notes of how the file was read, and whether
    penult wrote it."""
    with ExitStack() as stack:
        source = stack.enter_context(open_source(path))
        table = None if metadata is None else stack.enter_context(open_source(metadata))
        found = loaded(source, table, wanted)
        head = named.head
        if head is None and found.head is not None:
            head = Head(*found.head, classes=found.classes)
        upload = prepare(
            found.features,
            found.y,
            found.a,
            logits=found.logits,
            row_id=found.row_id,
            head=head,
            classes=named.classes if named.classes is not None else found.classes,
            attribute=named.attribute if named.attribute is not None else found.attribute,
            attribute_values=named.attribute_values if named.attribute_values is not None else found.attribute_values,
            masks=found.masks,
            train_counts=named.train_counts if named.train_counts is not None else found.train_counts,
        )
        notes = tuple(Note(remark, NoteId.READ_FROM_FILE.value) for remark in found.remarks)
        yield upload, notes, found.is_own


def sent(
    connection: Connection,
    upload: Upload,
    card: cards_pb2.Card,
    chunk_bytes: int,
    timeout: float,
    progress: bool | None,
) -> Any:
    """Send an upload; where a file cannot be read to its end, its own error is raised."""
    failures: list[Exception] = []

    def messages() -> Iterator[UploadMessage]:
        try:
            yield from upload_messages(upload, card, chunk_bytes)
        except Exception as error:
            # gRPC would log it and say only that the call was cancelled; the server refuses what is incomplete.
            failures.append(error)

    try:
        with uploading(card.name, progress) as transfer:
            return connection.upload_arrays(lambda: transfer.counted(messages()), timeout=timeout)
    except Exception:
        if failures:
            raise failures[0] from None
        raise


def rows_by_group(stored: FeatureSet) -> Note:
    """How many rows each group has, for whoever knows what they should be."""
    counts = [f"{group.name!r} {group.count}" for group in stored.groups[:MOST_GROUPS]]
    rest = f" and {len(stored.groups) - MOST_GROUPS} groups more" if len(stored.groups) > MOST_GROUPS else ""
    return Note(f"rows by group: {', '.join(counts)}{rest}", NoteId.ROWS_BY_GROUP.value)
