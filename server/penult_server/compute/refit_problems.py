"""From one request without a grid to the problems that the engine solves: rows, weights, offsets, centres."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels import row_weights
from penult_kernels.refit_engine import (
    Head,
    Intercept,
    Keep,
    Link,
    Optimizer,
    PathSettings,
    Problem,
    Scaler,
    Schedule,
    Standardize,
)
from penult_kernels.row_plans import (
    DETERMINISTIC,
    DRAWN_WITH_REPLACEMENT,
    Draw,
    balanced_draw,
    inverse_frequencies,
    top_rows,
)
from penult_kernels.selection import BalanceBy
from penult_proto.errors import ErrorKind
from penult_proto.v1 import refits_pb2 as pb
from penult_server.compute.refit_material import RefitMaterial
from penult_server.errors import ServiceError
from penult_server.messages import BALANCE_BY, BALANCE_METHODS, array_from_proto

INTERCEPTS = {
    pb.INTERCEPT_FREE: Intercept.FREE,
    pb.INTERCEPT_PENALIZED: Intercept.PENALIZED,
    pb.INTERCEPT_NONE: Intercept.NONE,
}
LINKS = {pb.LINK_SOFTMAX: Link.SOFTMAX, pb.LINK_OVR: Link.OVR}
OPTIMIZERS = {
    pb.PATH_OPTIMIZER_GD: Optimizer.GD,
    pb.PATH_OPTIMIZER_SGD: Optimizer.SGD,
    pb.PATH_OPTIMIZER_ADAMW: Optimizer.ADAMW,
}
SCHEDULES = {pb.PATH_SCHEDULE_CONSTANT: Schedule.CONSTANT, pb.PATH_SCHEDULE_COSINE: Schedule.COSINE}
Detected = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """One draw of a candidate, ready to be solved or followed."""

    draw: Draw
    problem: Problem
    settings: PathSettings | None
    """Of a path."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """What of the set a candidate is fitted on, and how often."""

    among: NDArray[np.int64]
    """Ascending positions."""
    repeats: int
    scaling: pb.Scaling


class ProblemMaker:
    """Makes the problems of all candidates of one request; what they share is one array."""

    def __init__(self, request: pb.RefitRequest, material: RefitMaterial) -> None:
        self._material = material
        self._digest = request.feature_set
        self._resident = material.resident(self._digest)
        labels = self._resident.manifest.labels
        self.n_classes, self.n_groups = len(labels.classes), labels.n_groups
        self._shared: dict[tuple[object, ...], Any] = {}
        self._labels, self._n_labels = self._balanced_labels(request)

    def tasks(self, request: pb.RefitRequest, part: Part, detected: Detected | None = None) -> list[Task]:
        """One task for each draw; draws that cannot differ are made once.

        Raises EmptyLabelError, ValueError and ServiceError for what the request asks in vain.
        """
        method = BALANCE_METHODS[request.balance.method]
        among = self._chosen_rows(request, part.among)
        on_batches = request.HasField("path") and method in DRAWN_WITH_REPLACEMENT
        is_fixed = method in DETERMINISTIC and not request.HasField("path")
        draws = [
            self._share(
                ("draw", repeat, request.balance.SerializeToString(), among.tobytes(), request.seed),
                lambda repeat=repeat: balanced_draw(
                    self._labels,
                    self._n_labels,
                    among=among,
                    method=method,
                    ratio=request.balance.ratio,
                    seed=request.seed,
                    repeat=repeat,
                ),
            )
            for repeat in range(1 if is_fixed else part.repeats)
        ]
        weights = self._row_weights(request, detected)
        return [
            self._task(request, part, draw, weights, on_batches=on_batches, repeat=repeat)
            for repeat, draw in enumerate(draws)
        ]

    def group_positions(self, draw: Draw) -> NDArray[np.int64]:
        """(n,) groups of the rows of a draw that a robust risk compares: those that balancing by group would use."""
        return self._groups[draw.rows]

    def own_logits(self, logits: Any, task: Task) -> Floats:
        """(n, C) of a draw's rows, from those (N, C) of all rows."""
        return self._material.backend.to_host(logits)[task.draw.rows]

    def losses(self, logits: Floats, task: Task) -> Floats:
        """(n,) cross-entropies of a draw's rows under their logits (n, C), with the problem's offset."""
        rows, offset = task.draw.rows, task.problem.offset
        return row_weights.cross_entropies(logits if offset is None else logits + offset[rows], self._resident.y[rows])

    def errors(self, logits: Any) -> Detected:
        """(N,) whether logits (N, C) misclassify the rows."""
        return row_weights.misclassified(self._material.backend.to_host(logits), self._resident.y)

    def detector_task(self, request: pb.RefitRequest, part: Part) -> Task:
        """The head whose errors weigh: fitted on all rows of the part along its path, with an l1 penalty."""
        rows = self._all_or(part.among)
        start = self._head(request.weights.detector.start, request.seed)
        problem = Problem(rows=rows, l1=request.weights.detector_l1, start=start)
        draw = Draw(rows=part.among, weight=np.ones(part.among.size))
        settings = _settings(request.weights.detector, part.among.size, sampler=None, seed=request.seed)
        return Task(draw=draw, problem=problem, settings=settings)

    def _task(
        self,
        request: pb.RefitRequest,
        part: Part,
        draw: Draw,
        weights: Floats | None,
        *,
        on_batches: bool,
        repeat: int,
    ) -> Task:
        settings, own = None, draw.weight
        if request.HasField("path"):
            sampler = None
            if on_batches:
                own = np.ones(draw.rows.size)
                method = BALANCE_METHODS[request.balance.method]
                sampler = inverse_frequencies(self._labels[draw.rows], self._n_labels, method=method)
            settings = _settings(request.path, draw.rows.size, sampler=sampler, seed=request.seed + repeat)
        weight = own if weights is None else own * weights[draw.rows]
        total = float(weight.sum()) if request.penalty_scale == pb.PENALTY_SCALE_SUM else 1.0
        if not total > 0:
            raise ServiceError(ErrorKind.INVALID_ARGUMENT, "the weights of the rows that are fitted are all 0")
        problem = Problem(
            rows=self._all_or(draw.rows),
            weight=None if bool(np.all(weight == weight[0])) else weight,
            offset=self._offset(request, draw),
            l1=request.l1 / total,
            l2=request.l2 / total,
            center=self._head(request.center),
            start=self._head(request.path.start, request.seed + repeat) if request.HasField("path") else None,
            intercept=INTERCEPTS[request.intercept],
            link=LINKS[request.link],
            standardize=self._scaling(part.scaling, draw),
        )
        return Task(draw=replace(draw, weight=weight), problem=problem, settings=settings)

    def _share(self, key: tuple[object, ...], make: Callable[[], Any]) -> Any:
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    def _all_or(self, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """None stands for all rows, which then need not be gathered."""
        return None if rows.size == self._resident.manifest.n_examples else rows

    def _balanced_labels(self, request: pb.RefitRequest) -> tuple[NDArray[np.int64], int]:
        """Labels that are balanced; also decides on the groups of a robust risk."""
        manifest, y = self._resident.manifest, self._resident.y
        by = BALANCE_BY[request.balance.by]
        match request.groups:
            case pb.GROUP_SOURCE_ERRORS:
                environment = row_weights.misclassified(self._material.logits(self._digest), y).astype(np.int64)
                self._groups, n_groups = 2 * y + environment, 2 * self.n_classes
            case pb.GROUP_SOURCE_EIIL:
                environment = row_weights.eiil_environments(self._material.logits(self._digest), y)
                self._groups, n_groups = 2 * y + environment, 2 * self.n_classes
            case _:
                self._groups, n_groups = self._resident.g, self.n_groups
                needs_groups = by is BalanceBy.GROUP or request.risk.kind == pb.RISK_KIND_GROUP_DRO
                if needs_groups and not manifest.labels.attribute_values:
                    raise ServiceError(
                        ErrorKind.ATTRIBUTE_MISSING,
                        f"feature set {manifest.digest[:12]} has no attribute, so it has no groups to balance: upload "
                        "it with a=..., or balance by class",
                    )
        return (y, self.n_classes) if by is BalanceBy.CLASS else (self._groups, n_groups)

    def _chosen_rows(self, request: pb.RefitRequest, among: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions among which balancing draws."""
        match request.rows.kind:
            case pb.ROWS_KIND_TOP_LOSS:
                scores = self._share(("losses",), self._losses)
                return among[top_rows(scores[among], request.rows.top_k)]
            case pb.ROWS_KIND_TOP_DISAGREEMENT:
                scores = self._share(("disagreements",), lambda: self._disagreements(request.rows.other))
                return among[top_rows(scores[among], request.rows.top_k)]
            case pb.ROWS_KIND_EXPLICIT:
                listed = self._share(("listed",), lambda: self._listed_rows(request.rows))
                return np.intersect1d(among, listed)
            case _:
                return among

    def _losses(self) -> Floats:
        return row_weights.cross_entropies(self._material.logits(self._digest), self._resident.y)

    def _disagreements(self, other: str) -> Floats:
        """Raises ServiceError (INVALID_ARGUMENT) unless both sets hold the same examples in the same order."""
        own, others = self._material.row_ids(self._digest), self._material.row_ids(other)
        if not np.array_equal(own, others):
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"feature sets {self._digest[:12]} and {other[:12]} hold other examples: compare the same split of two "
                "checkpoints",
            )
        return row_weights.disagreements(self._material.logits(other), self._material.logits(self._digest))

    def _listed_rows(self, rows: pb.Rows) -> NDArray[np.int64]:
        wanted = array_from_proto(rows.row_ids, "rows")
        stored = self._material.row_ids(self._digest)
        order = np.argsort(stored, kind="stable")
        at = np.searchsorted(stored, wanted, sorter=order)
        found = order[np.minimum(at, stored.size - 1)]
        missing = wanted[stored[found] != wanted]
        if wanted.ndim != 1 or missing.size or np.unique(wanted).size != wanted.size:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"rows= lists row ids of feature set {self._digest[:12]}, each once; {missing.size} of {wanted.size} "
                f"are not in it{f', such as {missing[0]}' if missing.size else ''}",
            )
        return np.sort(found).astype(np.int64)

    def _row_weights(self, request: pb.RefitRequest, detected: Detected | None) -> Floats | None:
        """(N,) weights of all rows beside the balancing's; None where they are all 1."""
        weights, y = request.weights, self._resident.y
        key = ("weights", weights.kind, weights.gamma, weights.up, weights.class_ratio, id(detected))
        return self._share(key, lambda: self._make_row_weights(weights, y, detected))

    def _make_row_weights(self, weights: pb.Weights, y: NDArray[np.int64], detected: Detected | None) -> Floats | None:
        made: Floats | None = None
        match weights.kind:
            case pb.WEIGHTS_KIND_CONFIDENCE:
                made = row_weights.confidence_weights(self._material.logits(self._digest), y, weights.gamma)
            case pb.WEIGHTS_KIND_ERRORS:
                errors = row_weights.misclassified(self._material.logits(self._digest), y)
                made = row_weights.error_weights(errors, weights.up)
            case pb.WEIGHTS_KIND_DETECTED:
                if detected is None:
                    raise ServiceError(ErrorKind.INTERNAL, "a detector's errors were asked for before it was fitted")
                made = row_weights.error_weights(detected, weights.up)
            case pb.WEIGHTS_KIND_EXPLICIT:
                made = self._explicit_weights(weights)
            case _:
                pass
        if weights.class_ratio != 1.0:
            if self.n_classes != 2:
                raise ServiceError(
                    ErrorKind.INVALID_ARGUMENT, f"class_ratio weighs two classes, there are {self.n_classes}"
                )
            of_class = np.array([max(1.0, 1.0 / weights.class_ratio), max(1.0, weights.class_ratio)])
            made = of_class[y] if made is None else made * of_class[y]
        return made

    def _explicit_weights(self, weights: pb.Weights) -> Floats:
        given = array_from_proto(weights.explicit, "weights").astype(np.float64)
        expected = (self._resident.manifest.n_examples,)
        if given.shape != expected:
            raise ServiceError(
                ErrorKind.WRONG_SHAPE,
                f"weights= has one number for each row of the set, shape {expected}; got {given.shape}",
            )
        if not (np.isfinite(given).all() and bool((given >= 0).all())):
            raise ServiceError(ErrorKind.NOT_FINITE, "weights= must be finite and at least 0")
        return given

    def _offset(self, request: pb.RefitRequest, draw: Draw) -> Floats | None:
        y, tau = self._resident.y, request.offset.tau
        # Shares are those of the rows that are fitted, by their weights.
        mass = np.zeros(y.size)
        mass[draw.rows] = draw.weight
        match request.offset.kind:
            case pb.OFFSET_KIND_CLASS_PRIOR:
                return row_weights.class_prior_offset(y, self.n_classes, mass, tau)
            case pb.OFFSET_KIND_PREDICTION_PRIOR:
                return row_weights.prediction_prior_offset(self._material.logits(self._digest), y, mass, tau)
            case _:
                return None

    def _head(self, source: pb.HeadSource, seed: int = 0) -> Head | None:
        """`seed` draws a random one."""
        match source.kind:
            case pb.HEAD_KIND_STORED:
                return self._material.head(self._digest)
            case pb.HEAD_KIND_EXPLICIT | pb.HEAD_KIND_REFIT:
                return self._share(("head", source.SerializeToString()), lambda: self._explicit_head(source.head))
            case pb.HEAD_KIND_RANDOM:
                rng = np.random.default_rng([seed, 1])
                n_features = int(self._resident.features.shape[1])
                n_classes = len(self._resident.manifest.labels.classes)
                longest = n_features**-0.5
                weight = rng.uniform(-longest, longest, (n_classes, n_features))
                return Head(weight=weight, bias=rng.uniform(-longest, longest, n_classes))
            case _:
                return None

    def _explicit_head(self, head: pb.Head) -> Head:
        weight = array_from_proto(head.weight, "head.weight").astype(np.float64)
        return Head(weight=weight, bias=array_from_proto(head.bias, "head.bias").astype(np.float64))

    def _scaling(self, scaling: pb.Scaling, draw: Draw) -> Standardize | Scaler:
        """Scalers of whole sets are kept from one request to the next."""
        match scaling.kind:
            case pb.SCALING_KIND_NONE:
                return Standardize.NONE
            case pb.SCALING_KIND_SET if scaling.feature_set != self._digest:
                return self._material.scaler_for_others(scaling.feature_set)
            case pb.SCALING_KIND_ALL | pb.SCALING_KIND_SET:
                return self._material.scaler(self._digest)
            case _:
                is_whole = self._all_or(draw.rows) is None
                return self._material.scaler(self._digest) if is_whole else Standardize.ROWS


def _settings(path: pb.Path, n_rows: int, *, sampler: Floats | None, seed: int) -> PathSettings:
    per_epoch = -(-n_rows // path.batch_size) if path.batch_size else 1
    return PathSettings(
        optimizer=OPTIMIZERS[path.optimizer],
        learning_rate=path.learning_rate,
        steps=path.steps or path.epochs * per_epoch,
        momentum=path.momentum,
        weight_decay=path.weight_decay,
        clip_norm=path.clip_norm or None,
        schedule=SCHEDULES[path.schedule],
        batch_size=min(path.batch_size, n_rows) or None,
        sampler=sampler,
        keep=Keep.BEST if path.keep == pb.PATH_KEEP_BEST else Keep.LAST,
        seed=seed,
    )
