"""A feature set of the server as files on this machine, streamed."""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from penult.arguments.coerce import build, check_choice, seconds
from penult.calls.waiting.queries import Transfer
from penult.connection.rpc import Connection
from penult.files.atomic import whole_directory, whole_file
from penult.files.formats.npy import NpyDirectory
from penult.files.formats.parquet import HEADS, ParquetWriter, needs_pyarrow
from penult.files.formats.safetensors import SafetensorsWriter
from penult.files.rows import rows_at_once
from penult.results.records import FeatureSet
from penult.wire.transfer import ArrayStream
from penult_proto.pieces.framing import Arrival
from penult_proto.v1 import features_pb2

if TYPE_CHECKING:
    from penult.files.formats.npz import NpzWriter

FileFormat: TypeAlias = Literal["npz", "npy", "parquet", "safetensors"]
FORMATS: tuple[FileFormat, ...] = ("npz", "npy", "parquet", "safetensors")


class Reading:
    """Streams of the arrays of one feature set, all within one time."""

    def __init__(
        self,
        connection: Connection,
        features: str,
        timeout: float,
        end: float | None = None,
        transfer: Transfer | None = None,
    ) -> None:
        self._connection = connection
        self._features = features
        self._end = time.monotonic() + seconds(timeout) if end is None else end
        self._transfer = transfer

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return max(0.0, self._end - time.monotonic())

    def of(self, features: str, transfer: Transfer | None = None) -> "Reading":
        """Another feature set within the same time; what comes is counted by `transfer`."""
        return Reading(self._connection, features, 0, self._end, transfer)

    @contextmanager
    def stream(self, arrays: Sequence[str] = ()) -> Generator[ArrayStream]:
        """The arrays of these names in this order; all that there are without names."""
        request = build(features_pb2.ReadFeaturesRequest, feature_set=self._features, arrays=arrays)
        call = self._connection.stubs.features.ReadFeatures
        with self._connection.stream(call, request, timeout=self.left) as messages:
            yield ArrayStream(messages if self._transfer is None else self._transfer.counted(messages))


def export(
    connection: Connection, features: str, place: str | Path, format: FileFormat, timeout: float, transfer: Transfer
) -> Path:
    """Write the arrays of a feature set; see `FeatureSets.export`."""
    check_choice("format", format, FORMATS)
    if format == "parquet":
        needs_pyarrow()
    reading = Reading(connection, features, timeout)
    with reading.stream() as stream:
        arrivals, feature_set = stream.arrivals, stream.feature_set
    # The largest elements first: so each array of a safetensors file is aligned to its type.
    arrivals.sort(key=lambda one: -one.dtype.itemsize)
    description = described(feature_set)
    reading = reading.of(feature_set.digest, transfer)
    transfer.expect(sum(one.header.total_bytes for one in arrivals))
    with (whole_directory if format == "npy" else whole_file)(place) as staging:
        if format == "parquet":
            _write_rows(reading, staging, description, arrivals)
        else:
            _write_arrays(reading, staging, format, description, arrivals)
    return Path(place).expanduser().absolute()


def described(feature_set: FeatureSet) -> dict[str, Any]:
    """What stands beside the arrays: where they come from and what their labels are called."""
    labels = feature_set.labels
    return {
        "penult_features": 1,
        "digest": feature_set.digest,
        "names": feature_set.names,
        "feature_kind": feature_set.feature_kind,
        "checkpoint": feature_set.checkpoint,
        "dataset": feature_set.dataset,
        "dataset_digest": feature_set.dataset_digest,
        "split": feature_set.split,
        "created": None if feature_set.created is None else feature_set.created.isoformat(),
        "n_examples": feature_set.n_examples,
        "n_features": feature_set.n_features,
        "dtype": feature_set.dtype,
        "classes": labels.classes,
        "classes_by_index": labels.classes_by_index,
        "attribute": labels.attribute,
        "attribute_values": labels.attribute_values,
        "masks": labels.masks,
        "attributes": [{"name": one.name, "values": one.values} for one in feature_set.attributes],
        "groups": [{"g": one.index, "name": one.name, "n": one.count} for one in feature_set.groups],
        "group_coding": "g = y * n_attributes + a",
        "train_shares": feature_set.train_shares.tolist(),
    }


def _write_arrays(
    reading: Reading, staging: Path, format: str, description: dict[str, Any], arrivals: Sequence[Arrival]
) -> None:
    """One array after the other, each piece as it comes."""
    announced = [(one.header.name, one.dtype, tuple(one.header.shape)) for one in arrivals]
    with (
        reading.stream([name for name, _, _ in announced]) as stream,
        closing(_writer(format, staging, description, announced)) as writer,
    ):
        for arrival, (name, dtype, shape) in zip(stream.arrivals, announced, strict=True):
            writer.start(name, dtype, shape)
            for piece in stream.pieces(arrival):
                writer.write(piece)
        stream.end()


def _writer(
    format: str, staging: Path, description: dict[str, Any], announced: Sequence[tuple[str, Any, tuple[int, ...]]]
) -> "NpyDirectory | NpzWriter | SafetensorsWriter":
    if format == "npy":
        return NpyDirectory(staging, description)
    if format == "npz":
        # Imported here: with the modules that zips need it takes as long as twenty of ours.
        from penult.files.formats.npz import NpzWriter

        return NpzWriter(staging, description)
    return SafetensorsWriter(staging, description, announced)


def _write_rows(reading: Reading, staging: Path, description: dict[str, Any], arrivals: Sequence[Arrival]) -> None:
    """All arrays together, a block of rows at a time, each from a stream of its own."""
    of_head = [one.header.name for one in arrivals if one.header.name in HEADS]
    of_rows = [
        (one.header.name, one.dtype, tuple(one.header.shape)) for one in arrivals if one.header.name not in HEADS
    ]
    at_once = min(rows_at_once(shape, dtype) for _, dtype, shape in of_rows)
    with ExitStack() as stack:
        heads = {}
        if of_head:
            stream = stack.enter_context(reading.stream(of_head))
            heads = {one.header.name: next(stream.rows(one, one.header.shape[0])) for one in stream.arrivals}
        blocks = {name: _rows(stack.enter_context(reading.stream([name])), at_once) for name, _, _ in of_rows}
        writer = stack.enter_context(closing(ParquetWriter(staging, description, of_rows, heads)))
        for together in zip(*blocks.values(), strict=True):
            writer.write(dict(zip(blocks, together, strict=True)))


def _rows(stream: ArrayStream, at_once: int) -> Iterator[Any]:
    (arrival,) = stream.arrivals
    yield from stream.rows(arrival, at_once)
    stream.end()
