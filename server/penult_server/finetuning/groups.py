"""The groups of the training examples that balancing and group DRO see: an attribute's, or those of a grouping."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_server.datasets.model import DatasetInfo
from penult_server.errors import ServiceError
from penult_server.finetuning.config import FinetuneConfig
from penult_server.notes import Note
from penult_server.stores.groupings import StoredGrouping, called, values_among

TRAIN = "train"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingGroups:
    """Groups of the training examples."""

    g: NDArray[np.int64]
    """(N,) -1 for examples in no group, which are not trained on."""
    names: tuple[str, ...]
    """(G,)"""
    is_absent: NDArray[np.bool_]
    """(G,) groups that no split of the dataset has; none of a grouping, which says nothing of the other splits."""
    notes: tuple[Note, ...] = ()


def training_groups(config: FinetuneConfig, info: DatasetInfo, root: Path | None) -> TrainingGroups:
    """The groups that a configuration names.

    Raises ServiceError: those of `values_among` and of reading a grouping; ATTRIBUTE_MISSING.
    """
    if not config.grouping or root is None:
        return TrainingGroups(
            g=info.group_index(TRAIN, config.attribute),
            names=tuple(group.name for group in info.groups(config.attribute)),
            is_absent=info.group_totals(config.attribute) == 0,
        )
    grouping, train = StoredGrouping(root, config.grouping), info.split(TRAIN)
    manifest = grouping.manifest
    if manifest.dataset_digest != info.digest:
        raise ServiceError(
            ErrorKind.OTHER_ROWS,
            f"{called(manifest)} is not of dataset {info.name!r} as it is now; make one of features of its split "
            "'train'",
            grouping=manifest.digest,
        )
    a = values_among(grouping, train.row_id, train.y, info.classes)
    names = tuple(f"{class_name}, {value}" for class_name in info.classes for value in manifest.values)
    return TrainingGroups(
        g=np.where(a < 0, -1, train.y * manifest.n_values + a),
        names=names,
        is_absent=np.zeros(len(names), np.bool_),
        notes=_notes(a, called(manifest)),
    )


def _notes(a: NDArray[np.int64], grouping: str) -> tuple[Note, ...]:
    """Which groups were used for what, and how many examples are in none."""
    text = f"trained with the groups of {grouping}; metrics and the choice of checkpoints are of the stored groups"
    used = Note(NoteId.GROUPS_USED, text)
    left_out = int(np.count_nonzero(a < 0))
    if not left_out:
        return (used,)
    text = f"{left_out} of {a.size} training examples are in no group and were left out"
    return used, Note(NoteId.ROWS_WITHOUT_GROUP, text)
