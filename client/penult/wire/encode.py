"""From the arguments of the client's methods to messages of the wire; what is plainly wrong is refused here."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from typing import TypeAlias, get_args

from google.protobuf.timestamp_pb2 import Timestamp

from penult.arguments import coerce
from penult.arguments.coerce import build, check_choice, items
from penult.errors import invalid, shown
from penult.results.records import Checkpoint, Dataset
from penult.types import FeatureKind, StorageType
from penult.wire.references import checkpoint_digest, dataset_name
from penult_proto.v1 import cards_pb2, jobs_pb2

Since: TypeAlias = datetime | date | timedelta | str
"""A time, the local one where it names no zone; a day; how long ago; or a time or day as ISO 8601 writes it."""


def card(name: str | None, tags: Sequence[str] | None, note: str | None) -> cards_pb2.Card:
    """What is said of a thing. Raises `InvalidRequest`."""
    return build(
        cards_pb2.Card,
        name=coerce.optional_text("name", name),
        tags=coerce.names("tags", tags),
        note=coerce.optional_text("note", note),
    )


def list_options(
    *, tag: str | Sequence[str] | None, name: str | None, since: Since | None, user: str | None
) -> cards_pb2.ListOptions:
    """Which things a list holds. Raises `InvalidRequest`."""
    return build(
        cards_pb2.ListOptions,
        tags=[coerce.text("tag", tag)] if isinstance(tag, str) else coerce.names("tag", tag),
        name=coerce.optional_text("name", name),
        user=coerce.optional_text("user", user),
        since=None if since is None else _time("since", since),
    )


def _time(argument: str, value: object) -> Timestamp:
    """A moment. Raises `InvalidRequest`."""
    hint = "a datetime, a date, a timedelta (how long ago) or text such as '2026-11-30' or '2026-11-30T12:00'"
    try:
        match value:
            case datetime():
                moment = value
            case date():
                moment = datetime.combine(value, time_of_day.min)
            case timedelta():
                moment = datetime.now(UTC) - value
            case str():
                moment = datetime.fromisoformat(value)
            case _:
                raise invalid(f"{argument} takes {hint}; got {shown(value)}", argument=argument)
        stamp = Timestamp()
        stamp.FromDatetime(moment.astimezone(UTC))
    except (ValueError, OverflowError, OSError):
        raise invalid(f"{argument} takes {hint}; got {shown(value)}", argument=argument) from None
    return stamp


def check_class_map(class_map: Mapping[str, str] | None) -> dict[str, str]:
    """Names to names, each once. Raises `InvalidRequest`."""
    pairs = items("class_map", class_map, "{'cat': 'wolf'}, from the head's name to the dataset's")
    return {coerce.text("class_map", one): coerce.text("class_map", other) for one, other in pairs}


def extract_spec(
    checkpoint: Checkpoint | str,
    *,
    dataset: Dataset | str | None,
    attribute: str | None,
    splits: Sequence[str] | None,
    kind: FeatureKind,
    dtype: StorageType,
    batch_size: int,
    class_map: Mapping[str, str] | None = None,
) -> jobs_pb2.ExtractSpec:
    """What is extracted from a checkpoint. Raises `InvalidRequest`."""
    check_choice("kind", kind, get_args(FeatureKind))
    check_choice("dtype", dtype, get_args(StorageType))
    return build(
        jobs_pb2.ExtractSpec,
        checkpoint=checkpoint_digest(checkpoint),
        dataset="" if dataset is None else dataset_name(dataset),
        attribute=coerce.optional_text("attribute", attribute),
        splits=coerce.names("splits", splits),
        feature_kind=kind,
        dtype=dtype,
        batch_size=coerce.whole("batch_size", batch_size),
        class_map=check_class_map(class_map),
    )
