"""Which rows a refit is fitted on, and their weights: listed rows, rows of largest scores, balanced draws of these."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.sampling import weights as row_weights
from penult_kernels.sampling.balancing import BalanceBy, BalanceMethod
from penult_kernels.sampling.group_ratio import GroupRatio, classes_of
from penult_kernels.sampling.plans import (
    DETERMINISTIC,
    DRAWN_WITH_REPLACEMENT,
    Draw,
    balanced_draw,
    loss_ends,
    top_rows,
)
from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_proto.v1 import groups_pb2
from penult_proto.v1 import refits_pb2 as pb
from penult_server.compute.refits.material import RefitMaterial
from penult_server.compute.rows.grouped import Grouped
from penult_server.compute.rows.resident import Labelled
from penult_server.errors import ServiceError
from penult_server.messages import BALANCE_BY, BALANCE_METHODS, array_from_proto
from penult_server.notes import Note
from penult_server.records import LabelNames
from penult_server.row_ids import places_of

Floats = NDArray[np.float64]
Detected = NDArray[np.bool_]
"""(N,) whether a detector misclassifies the rows."""
TOP_ROWS = (pb.ROWS_KIND_TOP_LOSS, pb.ROWS_KIND_TOP_DISAGREEMENT, pb.ROWS_KIND_LOSS_ENDS)


class RowChooser:
    """Rows, classes and groups for the candidates of one request; what several candidates use is made once."""

    def __init__(self, request: pb.RefitRequest, material: RefitMaterial) -> None:
        self._material = material
        self._digest = request.feature_set
        self.labelled: Labelled = material.opened(self._digest)
        self.labels = self.labelled.manifest.labels
        self.grouped = material.grouped(self._digest, request.grouping) if request.grouping else None
        self.n_classes = len(self.labels.classes)
        self._shared: dict[tuple[object, ...], Any] = {}
        self._compares_groups = request.risk.kind == pb.RISK_KIND_GROUP_DRO
        self.groups, self._group_names = self._grouped(request)
        self._explicit = self._explicit_weights(request.weights)
        self.universe = self._universe(request)

    def once(self, key: tuple[object, ...], make: Callable[[], Any]) -> Any:
        """The value for a key, made at its first use."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    def draws(self, request: pb.RefitRequest, among: NDArray[np.int64], repeats: int) -> list[Draw]:
        """The draws of a candidate's balancing; only one if all would be equal.

        Raises EmptyLabelError and ValueError for a balancing that is impossible.
        """
        method = BALANCE_METHODS[request.balance.method]
        chosen = self._chosen(request, among)
        labels, n_labels = self.balanced_labels(request)
        is_fixed = method in DETERMINISTIC and not request.HasField("path")
        key = (request.balance.SerializeToString(), chosen.tobytes(), request.seed)

        def draw(repeat: int) -> Draw:
            self._material.pause()
            return balanced_draw(
                labels,
                n_labels,
                among=chosen,
                method=method,
                ratio=request.balance.ratio,
                seed=request.seed,
                repeat=repeat,
                may_be_absent=self.may_be_absent(request),
                group_ratio=self.group_ratio(request),
            )

        n_draws = 1 if is_fixed else repeats
        return [self.once(("draw", repeat, *key), lambda repeat=repeat: draw(repeat)) for repeat in range(n_draws)]

    def balanced_labels(self, request: pb.RefitRequest) -> tuple[NDArray[np.int64], int]:
        """(N,) labels that are balanced, and how many there are."""
        if BALANCE_BY[request.balance.by] is BalanceBy.CLASS:
            return self.labelled.y, self.n_classes
        return self.groups, len(self._group_names)

    def group_ratio(self, request: pb.RefitRequest) -> GroupRatio | None:
        """How frequent a candidate's minorities are; None for groups that are all alike.

        Raises ValueError for groups that do not lie within the classes.
        """
        if not request.balance.HasField("group_ratio"):
            return None
        labels, n_labels = self.balanced_labels(request)
        own = self.once(
            ("classes of the groups",), lambda: classes_of(labels[labels >= 0], self.labelled.y[labels >= 0], n_labels)
        )
        return GroupRatio(ratio=request.balance.group_ratio, class_of=own)

    def may_be_absent(self, request: pb.RefitRequest) -> NDArray[np.bool_]:
        """Which of the labels that are balanced are left out if they have no row.

        These are groups without a row in the whole dataset; all groups if the request skips missing ones; and all
        labels if the rows are those of largest scores, as in the samplers of SELF.
        """
        _, n_labels = self.balanced_labels(request)
        allowed = np.zeros(n_labels, np.bool_)
        if request.rows.kind in TOP_ROWS:
            return ~allowed
        if BALANCE_BY[request.balance.by] is BalanceBy.GROUP:
            if request.balance.missing_groups == groups_pb2.MISSING_GROUPS_SKIP:
                return ~allowed
            if request.groups == pb.GROUP_SOURCE_STORED:
                manifest = self.labelled.manifest if self.grouped is None else self.grouped.manifest
                allowed[list(manifest.absent_groups)] = True
        return allowed

    def notes(self, request: pb.RefitRequest, draw: Draw) -> list[Note]:
        """Notes on classes and groups without a row in a draw."""
        found: list[Note] = []
        used = draw.rows[draw.weight > 0]
        if classes := _absent(self.labelled.y[used], self.labels.classes):
            text = f"no row of class {_listed(classes)} is among the {used.size} that are fitted"
            found.append(Note(NoteId.ABSENT_CLASS, text))
        balances = BALANCE_METHODS[request.balance.method] is not BalanceMethod.NONE
        by_group = balances and BALANCE_BY[request.balance.by] is BalanceBy.GROUP
        if (by_group or self._compares_groups) and (absent := _absent(self.groups[used], self._group_names)):
            how = "balanced" if by_group else "compared"
            text = f"{how} without the groups that have no row among those fitted: {_listed(absent)}"
            found.append(Note(NoteId.ABSENT_GROUPS, text))
        return found

    def is_drawn_by_batch(self, request: pb.RefitRequest) -> bool:
        """Whether balancing draws each batch of a path instead of its rows."""
        return request.HasField("path") and BALANCE_METHODS[request.balance.method] in DRAWN_WITH_REPLACEMENT

    def weights(self, request: pb.RefitRequest, detected: Detected | None) -> Floats | None:
        """(N,) weights of all rows, to be multiplied by those of balancing; None if they are all 1."""
        weights, y = request.weights, self.labelled.y
        key = (
            "weights",
            weights.kind,
            weights.gamma,
            weights.up,
            weights.class_ratio,
            None if detected is None else detected.tobytes(),
        )
        return self.once(key, lambda: self._make_row_weights(weights, y, detected))

    def _grouped(self, request: pb.RefitRequest) -> tuple[NDArray[np.int64], Sequence[str]]:
        """(N,) groups of balancing and of a robust risk, and their names."""
        y = self.labelled.y
        if request.groups in (pb.GROUP_SOURCE_ERRORS, pb.GROUP_SOURCE_EIIL):
            logits = self._material.logits(self._digest)
            is_eiil = request.groups == pb.GROUP_SOURCE_EIIL
            environment = row_weights.eiil_environments(logits, y) if is_eiil else row_weights.misclassified(logits, y)
            kinds = ("environment 0", "environment 1") if is_eiil else ("right", "errors")
            names = [f"{name}, {kind}" for name in self.labels.classes for kind in kinds]
            return 2 * y + environment.astype(np.int64), names
        if self.grouped is not None:
            return self.grouped.groups(y), group_names(self.grouped.manifest.labels)
        balances = BALANCE_METHODS[request.balance.method] is not BalanceMethod.NONE
        needs_groups = self._compares_groups or (balances and BALANCE_BY[request.balance.by] is BalanceBy.GROUP)
        if needs_groups and not self.labels.attribute_values:
            raise ServiceError(
                ErrorKind.ATTRIBUTE_MISSING,
                f"feature set {self._digest[:12]} has no attribute, so it has no groups to balance: upload it with "
                "a=..., or balance by class",
            )
        return self.labelled.g, group_names(self.labels)

    def _universe(self, request: pb.RefitRequest) -> NDArray[np.int64]:
        """Ascending positions of the rows of a refit: those listed that are in a group, without those of weight 0.

        The other rows have no effect: halves, draws and counts are of these alone.
        """
        found = np.arange(self.labelled.manifest.n_examples, dtype=np.int64)
        if request.rows.kind == pb.ROWS_KIND_EXPLICIT:
            found = self._listed(request.rows)
        if self.grouped is not None and self.grouped.n_left_out:
            found = self._in_a_group(found, self.grouped)
        if self._explicit is None:
            return found
        weighed = found[self._explicit[found] > 0]
        if weighed.size == 0:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"weights= must be positive for at least one of the {found.size} rows that are fitted; 0 of them have "
                "a positive weight. Without weights= all rows weigh the same",
                field="weights",
            )
        return weighed

    def _in_a_group(self, rows: NDArray[np.int64], grouped: Grouped) -> NDArray[np.int64]:
        """The rows that are in a group. Raises ServiceError (EMPTY_GROUP) when none is."""
        found = rows[grouped.a[rows] >= 0]
        if not found.size:
            raise ServiceError(
                ErrorKind.EMPTY_GROUP,
                f"none of the {rows.size} rows that are fitted is in a group of {grouped.called}: fit others, or "
                "choose another grouping",
                grouping=grouped.grouping.digest,
            )
        return found

    def _explicit_weights(self, weights: pb.Weights) -> Floats | None:
        """(N,) weights of the request; None if it gives none."""
        if weights.kind != pb.WEIGHTS_KIND_EXPLICIT:
            return None
        given = array_from_proto(weights.explicit, "weights").astype(np.float64)
        expected = (self.labelled.manifest.n_examples,)
        if given.shape != expected:
            raise ServiceError(
                ErrorKind.WRONG_SHAPE,
                f"weights= has one number for each row of the set, shape {expected}; got {given.shape}",
            )
        if not (np.isfinite(given).all() and bool((given >= 0).all()) and np.isfinite(given.sum())):
            raise ServiceError(ErrorKind.NOT_FINITE, "weights= must be finite, as must their sum, and at least 0")
        return given

    def _make_row_weights(self, weights: pb.Weights, y: NDArray[np.int64], detected: Detected | None) -> Floats | None:
        made: Floats | None = None
        match weights.kind:
            case pb.WEIGHTS_KIND_CONFIDENCE:
                made = self._confidence_weights(weights.gamma)
            case pb.WEIGHTS_KIND_ERRORS:
                errors = row_weights.misclassified(self._material.logits(self._digest), y)
                made = row_weights.error_weights(errors, weights.up)
            case pb.WEIGHTS_KIND_DETECTED:
                if detected is None:
                    raise ServiceError(ErrorKind.INTERNAL, "a detector's errors were asked for before it was fitted")
                made = row_weights.error_weights(detected, weights.up)
            case _:
                made = self._explicit
        if weights.HasField("class_ratio") and weights.class_ratio != 1.0:
            if self.n_classes != 2:
                raise ServiceError(
                    ErrorKind.INVALID_ARGUMENT, f"class_ratio weighs two classes, there are {self.n_classes}"
                )
            of_class = np.array([max(1.0, 1.0 / weights.class_ratio), max(1.0, weights.class_ratio)])
            made = of_class[y] if made is None else made * of_class[y]
        return made

    def _confidence_weights(self, gamma: float) -> Floats:
        """(N,) weights by confidence, relative to the rows of the refit; 0 for the others."""
        found = np.zeros(self.labelled.y.size)
        logits, y = self._material.logits(self._digest)[self.universe], self.labelled.y[self.universe]
        found[self.universe] = row_weights.confidence_weights(logits, y, gamma)
        return found

    def _chosen(self, request: pb.RefitRequest, among: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions among which balancing draws."""
        match request.rows.kind:
            case pb.ROWS_KIND_TOP_LOSS:
                scores = self.once(("losses",), self._losses)
                return among[top_rows(scores[among], request.rows.top_k)]
            case pb.ROWS_KIND_TOP_DISAGREEMENT:
                scores = self.once(("disagreements",), lambda: self._disagreements(request.rows.other))
                return among[top_rows(scores[among], request.rows.top_k)]
            case pb.ROWS_KIND_LOSS_ENDS:
                return among[self._loss_ends(among, request.rows.top_k)]
            case _:
                return among

    def _loss_ends(self, among: NDArray[np.int64], k: int) -> NDArray[np.int64]:
        losses, y = self.once(("losses",), self._losses), self.labelled.y
        is_error = self.once(("errors",), lambda: row_weights.misclassified(self._material.logits(self._digest), y))
        return loss_ends(losses[among], is_error[among], y[among], self.n_classes, k)

    def _losses(self) -> Floats:
        return row_weights.cross_entropies(self._material.logits(self._digest), self.labelled.y)

    def _disagreements(self, other: str) -> Floats:
        """Raises ServiceError (INVALID_ARGUMENT) unless both sets hold the same examples in the same order."""
        own, others = self._material.row_ids(self._digest), self._material.row_ids(other)
        if not np.array_equal(own, others):
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"feature sets {self._digest[:12]} and {other[:12]} hold other examples: compare the same split of two "
                "checkpoints",
            )
        return row_weights.disagreements(
            self._material.logits_as(other, self._digest), self._material.logits(self._digest)
        )

    def _listed(self, rows: pb.Rows) -> NDArray[np.int64]:
        wanted = array_from_proto(rows.row_ids, "rows")
        found, missing = places_of(self._material.row_ids(self._digest), wanted)
        if wanted.ndim != 1 or missing.size or np.unique(wanted).size != wanted.size or not wanted.size:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"rows= lists row ids of feature set {self._digest[:12]}, at least one and each once; {missing.size} "
                f"of {wanted.size} are not in it{f', such as {missing[0]}' if missing.size else ''}",
                field="rows",
            )
        return np.sort(found).astype(np.int64)


def group_names(labels: LabelNames) -> list[str]:
    """Names of the groups, by their index."""
    values = labels.attribute_values or ("",)
    return [", ".join(filter(None, (name, value))) for name in labels.classes for value in values]


def _absent(labels: NDArray[np.int64], names: Sequence[str]) -> list[str]:
    counts = np.bincount(labels, minlength=len(names))
    return [name for name, count in zip(names, counts, strict=True) if not count]


def _listed(names: Sequence[str]) -> str:
    return "; ".join(repr(name) for name in names)
