"""How well a grouping agrees with the stored groups of its rows, or with another grouping, within each class."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penult_kernels.groupings.agreement import (
    Agreement,
    agreement,
    average_precision,
    precision_at,
    rand_index,
    shared_rows,
    shuffled,
)
from penult_proto.errors import ErrorKind
from penult_proto.v1 import groupings_pb2 as pb
from penult_server.compute.groupings.found import Floats, Integers
from penult_server.errors import ServiceError
from penult_server.messages import labels_to_proto
from penult_server.records import LabelNames
from penult_server.stores.groupings import StoredGrouping
from penult_server.stores.reading import StoredFeatures

MOST_CELLS = 3_000_000
"""Numbers in all tables of one class: values x true values x permutations."""
RANKED = ("minority_average_precision", "minority_precision_at_10", "minority_precision_at_25")
"""Fields that are read off the order in which rows belong to the found parts."""
MEANS = (
    "ari",
    "nmi",
    "homogeneity",
    "completeness",
    "matched_accuracy",
    "minority_precision",
    "minority_recall",
    *RANKED,
)
"""Fields of a score that are averaged over the classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Values that are taken for true."""

    row_id: NDArray[np.uint64]
    y: Integers
    value: Integers
    """-1 for rows in no group."""
    labels: LabelNames


def score(request: pb.ScoreGroupingRequest, root: Path) -> pb.GroupingScores:
    """Answer a request in which every field is set.

    Raises ServiceError: UNKNOWN_GROUPING, UNKNOWN_FEATURE_SET, STORE_CORRUPT; ATTRIBUTE_MISSING without stored groups;
    OTHER_CLASSES, OTHER_ROWS where the two are of other examples; INVALID_ARGUMENT for too many permutations.
    """
    stored = StoredGrouping(root, request.grouping)
    truth = _grouping_truth(root, request.truth, stored) if request.truth else _stored_truth(root, stored)
    found, true, soft = _in_common(stored, truth)
    manifest = stored.manifest
    n_values, n_true = manifest.n_values, truth.labels.n_attributes
    _check_size(n_values * n_true, request.permutations)
    classes: list[pb.GroupingScore] = []
    by_chance: list[Floats] = []
    for y in range(len(manifest.classes)):
        of_class = found.y == y
        shared = shared_rows(found.value[of_class], true[of_class], n_values, n_true)
        own = agreement(shared)
        ranked = _ranked(own, true[of_class], None if soft is None else soft[of_class])
        by_chance.append(rand_index(shuffled(shared, request.permutations, seed=[request.seed, y])))
        classes.append(_message(y, own, ranked, by_chance[-1]))
    return pb.GroupingScores(
        grouping=request.grouping,
        truth=request.truth,
        classes=classes,
        overall=_overall(classes, by_chance),
        labels=labels_to_proto(_names(manifest.classes, manifest.attribute, manifest.values)),
        true_labels=labels_to_proto(truth.labels),
    )


def _stored_truth(root: Path, stored: StoredGrouping) -> Truth:
    features = StoredFeatures(root, stored.manifest.feature_set)
    labels = features.manifest.labels
    if not labels.attribute_values:
        raise ServiceError(
            ErrorKind.ATTRIBUTE_MISSING,
            f"feature set {features.manifest.digest[:12]} has no attribute, so that its true groups are unknown: give "
            "truth=... a grouping, or ask how stable it is: client.grouping_stability",
            feature_set=features.manifest.digest,
        )
    return Truth(row_id=features.read("row_id"), y=features.read("y"), value=features.read("a"), labels=labels)


def _grouping_truth(root: Path, digest: str, stored: StoredGrouping) -> Truth:
    other = StoredGrouping(root, digest)
    own, theirs = stored.manifest, other.manifest
    if own.classes != theirs.classes:
        raise ServiceError(
            ErrorKind.OTHER_CLASSES,
            f"grouping {own.digest[:12]} is of the classes {list(own.classes)[:20]}, {digest[:12]} of "
            f"{list(theirs.classes)[:20]}: compare groupings of the same rows",
            truth=digest,
        )
    places = [(one.dataset_digest, one.split) for one in (own, theirs)]
    if all(dataset for dataset, _ in places) and places[0] != places[1]:
        raise _other_rows(own.digest, digest, "they are of other datasets or splits")
    arrays = other.arrays
    labels = _names(theirs.classes, theirs.attribute, theirs.values)
    return Truth(row_id=arrays["row_id"], y=arrays["y"], value=arrays["value"], labels=labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    y: Integers
    value: Integers


def _in_common(stored: StoredGrouping, truth: Truth) -> tuple[_Found, Integers, NDArray[np.float32] | None]:
    """Rows that both know: class and value of each, its true value, and how far it belongs to each value."""
    arrays = stored.arrays
    _, own, theirs = np.intersect1d(arrays["row_id"], truth.row_id, assume_unique=True, return_indices=True)
    y: Integers = arrays["y"][own]
    if not own.size or not np.array_equal(y, truth.y[theirs]):
        why = "they share no row" if not own.size else "rows of one id have other classes"
        raise _other_rows(stored.manifest.digest, "the truth", why)
    soft = arrays["soft"][own] if "soft" in arrays else None
    return _Found(y=y, value=arrays["value"][own]), truth.value[theirs], soft


def _other_rows(grouping: str, truth: str, why: str) -> ServiceError:
    return ServiceError(
        ErrorKind.OTHER_ROWS,
        f"grouping {grouping[:12]} and {truth[:12]} cannot be compared: {why}; compare groupings of the same examples",
        grouping=grouping,
    )


def _ranked(own: Agreement, true: Integers, soft: NDArray[np.float32] | None) -> dict[str, float]:
    """Precisions of the order in which rows belong to the parts; NaN without soft values."""
    if own.minority < 0 or soft is None:
        return dict.fromkeys(RANKED, math.nan)
    known = true >= 0
    is_minority, belongs = (true == own.minority)[known], soft[known].astype(np.float64)
    values = (
        average_precision(is_minority, belongs[:, own.minority_found]),
        *(precision_at(is_minority, belongs, k) for k in (10, 25)),
    )
    return dict(zip(RANKED, values, strict=True))


def _message(y: int, own: Agreement, ranked: dict[str, float], by_chance: Floats) -> pb.GroupingScore:
    return pb.GroupingScore(
        y=y,
        n_rows=own.n_rows,
        ari=own.ari,
        nmi=own.nmi,
        homogeneity=own.homogeneity,
        completeness=own.completeness,
        matched_accuracy=own.matched_accuracy,
        minority=own.minority,
        minority_found=own.minority_found,
        minority_precision=own.minority_precision,
        minority_recall=own.minority_recall,
        **ranked,
        baseline_ari=float(by_chance.mean()) if own.n_rows and by_chance.size else math.nan,
        p_value=_p_value(own.ari, by_chance),
    )


def _overall(classes: list[pb.GroupingScore], by_chance: list[Floats]) -> pb.GroupingScore:
    rows = np.array([one.n_rows for one in classes], dtype=np.float64)
    overall = pb.GroupingScore(y=-1, n_rows=int(rows.sum()), minority=-1, minority_found=-1)
    for name in MEANS:
        setattr(overall, name, _mean(np.array([getattr(one, name) for one in classes]), rows))
    chance = np.einsum("c,cr->r", rows, np.stack(by_chance)) / max(rows.sum(), 1.0)
    overall.baseline_ari = float(chance.mean()) if rows.any() and chance.size else math.nan
    overall.p_value = _p_value(overall.ari, chance)
    return overall


def _mean(values: Floats, rows: Floats) -> float:
    """Mean by rows over the classes where there is a value."""
    known = ~np.isnan(values)
    return float(values[known] @ rows[known] / rows[known].sum()) if rows[known].any() else math.nan


def _p_value(ari: float, by_chance: Floats) -> float:
    """Share of permutations, the one at hand among them, that agree as much; equal up to rounding counts."""
    if math.isnan(ari) or not by_chance.size:
        return math.nan
    return float((1 + np.sum(by_chance >= ari - 1e-12)) / (1 + by_chance.size))


def _names(classes: tuple[str, ...], attribute: str, values: tuple[str, ...]) -> LabelNames:
    return LabelNames(classes=classes, attribute=attribute, attribute_values=values)


def _check_size(cells: int, permutations: int) -> None:
    if cells * max(permutations, 1) > MOST_CELLS:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{permutations} permutations of a table of {cells} pairs of values are more than a score takes; ask for "
            f"permutations={MOST_CELLS // cells} at most",
            field="permutations",
        )
