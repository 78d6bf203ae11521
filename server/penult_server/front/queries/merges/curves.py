"""Requests to measure networks on a line: checked and completed like the merges that they are."""

from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_proto.v1 import datasets_pb2, merges_pb2
from penult_server.errors import ServiceError, unknown
from penult_server.front.queries.merges.numbers import invalid
from penult_server.front.queries.merges.request import FindDataset, complete_merge
from penult_server.front.registry_thread import Registry

MOST_POINTS = 101
POINTS = 11
SWAP_POINTS = 5


async def complete_curve(
    spec: merges_pb2.MergeCurveSpec, registry: Registry, root: Path, find_dataset: FindDataset
) -> None:
    """In place. Raises ServiceError: those of `complete_merge`; UNKNOWN_SPLIT, ATTRIBUTE_MISSING, EMPTY_GROUP."""
    line = spec.line
    line.method = line.method or "wise"
    if line.method != "wise":
        raise invalid("method", "left out, for a curve runs along the line between two networks", line.method)
    if line.numbers:
        raise invalid("t", "given as places of the curve", dict(line.numbers))
    line.scope = line.scope or merges_pb2.MERGE_SCOPE_FULL
    if spec.each_block and line.scope not in (merges_pb2.MERGE_SCOPE_FULL, merges_pb2.MERGE_SCOPE_BODY):
        raise invalid("scope", "'full' or 'body' where each block is moved by itself", line.scope)
    if line.dataset:
        raise invalid("dataset", "that of the curve, which running statistics are measured on, too", line.dataset)
    _complete_places(spec)
    await complete_merge(line, registry, root, find_dataset, spec.dataset)
    line.ClearField("numbers")
    await _complete_data(spec, registry, find_dataset)


def _complete_places(spec: merges_pb2.MergeCurveSpec) -> None:
    n_points = SWAP_POINTS if spec.each_block else POINTS
    given = list(spec.t) or [index / (n_points - 1) for index in range(n_points)]
    if len(given) > MOST_POINTS or any(not 0 <= one <= 1 for one in given) or sorted(set(given)) != given:
        raise invalid("t", f"at most {MOST_POINTS} places of 0 .. 1 that ascend", given[:20])
    spec.t[:] = sorted({0.0, *given, 1.0})


async def _complete_data(spec: merges_pb2.MergeCurveSpec, registry: Registry, find_dataset: FindDataset) -> None:
    first = await registry.run(registry.catalog.checkpoint, spec.line.rest)
    if not (spec.dataset or first.dataset):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"checkpoint {first.digest[:12]} was imported and belongs to no dataset: say on which one it is measured, "
            "dataset=...",
            field="dataset",
        )
    dataset = await find_dataset(spec.dataset or first.dataset)
    spec.dataset = dataset.name
    names = [one.name for one in dataset.attributes]
    spec.attribute = spec.attribute or names[0]
    if spec.attribute not in names:
        raise unknown(
            ErrorKind.ATTRIBUTE_MISSING, f"attribute of dataset {dataset.name!r} called", spec.attribute, names
        )
    if sorted(first.classes) != sorted(dataset.classes):
        raise ServiceError(
            ErrorKind.OTHER_CLASSES,
            f"checkpoint {first.digest[:12]} knows the classes {', '.join(first.classes[:20])}, dataset "
            f"{dataset.name!r} has {', '.join(dataset.classes[:20])}; measure it on a dataset of its classes",
            field="dataset",
        )
    _complete_splits(spec, dataset)


def _complete_splits(spec: merges_pb2.MergeCurveSpec, dataset: datasets_pb2.Dataset) -> None:
    sizes = {one.name: one.n_examples for one in dataset.splits}
    held_out = [name for name in sizes if name != "train"]
    if not spec.splits:
        spec.splits.append("val" if "val" in sizes else (held_out or list(sizes))[0])
    if len(set(spec.splits)) < len(spec.splits):
        raise invalid("splits", "each named once", list(spec.splits))
    for name in spec.splits:
        if name not in sizes:
            raise unknown(ErrorKind.UNKNOWN_SPLIT, f"split of dataset {dataset.name!r} called", name, list(sizes))
        if not sizes[name]:
            raise invalid("splits", "splits with examples", name)
