"""From the arguments of the client's methods to messages of the wire; what is plainly wrong is refused here."""

from collections.abc import Mapping, Sequence
from typing import get_args

from penult.arguments import coerce
from penult.arguments.coerce import build, check_choice, items
from penult.results.records import Checkpoint, Dataset
from penult.types import FeatureKind, StorageType
from penult.wire.references import checkpoint_digest, dataset_name
from penult_proto.v1 import jobs_pb2


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
