"""Problems for the kernels from one candidate of a request: rows, weights, offsets, centers, starts."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.linear.solve import Head, Intercept, Link, Problem, Scaler, Standardize
from penult_kernels.sampling import weights as row_weights
from penult_kernels.sampling.balancing import EmptyLabelError
from penult_kernels.sampling.plans import Draw, inverse_frequencies
from penult_kernels.trajectories.settings import Keep, Optimizer, Schedule, TrajectorySettings
from penult_proto.enums import name_of
from penult_proto.errors import ErrorKind
from penult_proto.v1 import refits_pb2 as pb
from penult_server.compute.memory import available_host_bytes, require
from penult_server.compute.refits.checks import explained
from penult_server.compute.refits.material import RefitMaterial
from penult_server.compute.refits.named_heads import head_from_proto
from penult_server.compute.refits.rows import Detected, Floats, RowChooser
from penult_server.compute.refits.subspaces import Subspace, center_logits, leading
from penult_server.errors import ServiceError
from penult_server.messages import BALANCE_METHODS
from penult_server.questions.refit_scalars import values_of

MOST_STEPS = 1_000_000
"""Steps of a path at most."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """One draw of a candidate: a problem to be solved, or a trajectory to be computed."""

    draw: Draw
    problem: Problem
    settings: TrajectorySettings | None
    """Settings of a path; None for the optimum."""
    subspace: Subspace | None = None
    """Where the correction of the center lies, if not anywhere: the problem is then one over its features."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subset:
    """Rows among which a candidate draws, and how often."""

    among: NDArray[np.int64]
    """Ascending positions."""
    repeats: int
    scaling: pb.Scaling


class ProblemMaker:
    """Makes the problems of all candidates of one request; equal arrays are made once."""

    def __init__(self, request: pb.RefitRequest, material: RefitMaterial) -> None:
        self._material = material
        self._digest = request.feature_set
        self._most_directions = max((int(value) for value in values_of(request, "subspace")), default=0)
        self.rows = RowChooser(request, material)
        self._labelled = self.rows.labelled
        self.n_classes = self.rows.n_classes

    @property
    def universe(self) -> NDArray[np.int64]:
        """Ascending positions of the rows of the request."""
        return self.rows.universe

    def tasks(self, request: pb.RefitRequest, subset: Subset, detected: Detected | None = None) -> list[Task]:
        """One task for each draw; only one if all draws would be equal.

        Raises EmptyLabelError, ValueError and ServiceError for a candidate that is impossible.
        """
        weights = self.rows.weights(request, detected)
        return [
            self._task(request, subset, draw, weights, repeat)
            for repeat, draw in enumerate(self.rows.draws(request, subset.among, subset.repeats))
        ]

    def reason(self, error: Exception, request: pb.RefitRequest) -> str:
        """Why a candidate could not be fitted: the error message that it alone would get."""
        said = explained(error, request, self._material.manifest(self._digest, request.grouping))
        return said.message if isinstance(said, ServiceError) else str(said)

    def group_positions(self, draw: Draw) -> NDArray[np.int64]:
        """(n,) groups of the rows of a draw that a robust risk compares: those that balancing by group would use."""
        return self.rows.groups[draw.rows]

    def own_logits(self, logits: Any, task: Task) -> Floats:
        """(n, C) logits of a draw's rows, from those (N, C) of all rows."""
        return self._material.backend.to_host(logits)[task.draw.rows]

    def losses(self, logits: Floats, task: Task) -> Floats:
        """(n,) cross-entropies of a draw's rows under their logits (n, C), with the problem's offset."""
        rows, offset = task.draw.rows, task.problem.offset
        return row_weights.cross_entropies(logits if offset is None else logits + offset[rows], self._labelled.y[rows])

    def errors(self, logits: Any) -> Detected:
        """(N,) whether logits (N, C) misclassify the rows."""
        return row_weights.misclassified(self._material.backend.to_host(logits), self._labelled.y)

    def detector_task(self, request: pb.RefitRequest, subset: Subset) -> Task:
        """The detector, whose errors weigh the rows: fitted on all rows of the subset along its path, with an l1."""
        rows = self._all_or(subset.among)
        start = self._head(request.weights.detector.start, request.seed)
        problem = Problem(rows=rows, l1=request.weights.detector_l1, start=start)
        draw = Draw(rows=subset.among, weight=np.ones(subset.among.size))
        settings = _settings(request.weights.detector, subset.among.size, sampler=None, seed=request.seed)
        return Task(draw=draw, problem=problem, settings=settings)

    def _task(self, request: pb.RefitRequest, subset: Subset, draw: Draw, weights: Floats | None, repeat: int) -> Task:
        self._material.pause()
        self._material.check_rows(self._digest, draw.rows.size)
        if request.link == pb.LINK_HINGE:
            # Its solver has the rows in float64 on the host, and those that have a multiplier twice more.
            needed = 24 * draw.rows.size * self._labelled.manifest.n_features
            require(needed, available_host_bytes(self._material.backend), "fit fewer rows, or link='softmax'")
        settings, own = None, draw.weight
        if request.HasField("path"):
            sampler = None
            if self.rows.is_drawn_by_batch(request):
                own = np.ones(draw.rows.size)
                sampler = self._sampler(request, draw)
            settings = _settings(request.path, draw.rows.size, sampler=sampler, seed=request.seed + repeat)
        weight = own
        if weights is not None:
            if request.link == pb.LINK_HINGE and request.l2 == 0:
                _check_alike(weights[draw.rows])
            # Candidates with the same weights share one array, however many there are.
            key = ("weights of a draw", draw.key, id(weights), settings is not None and settings.sampler is not None)
            weight = self.rows.once(key, lambda: own * weights[draw.rows])
        _check_sum(weight)
        total = float(weight.sum()) if request.penalty_scale == pb.PENALTY_SCALE_SUM else 1.0
        drawn = replace(draw, weight=weight)
        intercept = Intercept(name_of(pb.Intercept.DESCRIPTOR, request.intercept))
        if settings is None and intercept is Intercept.FREE:
            self._check_classes(drawn)
        problem = Problem(
            rows=self._all_or(draw.rows),
            weight=None if bool(np.all(weight == weight[0])) else weight,
            offset=self._offset(request, drawn),
            l1=_scaled("l1", request.l1, total),
            l2=_scaled("l2", request.l2, total),
            center=self._head(request.center),
            start=self._start(request, repeat) if request.HasField("path") else None,
            intercept=intercept,
            link=Link(name_of(pb.Link.DESCRIPTOR, request.link)),
            standardize=self._scaling(subset.scaling, draw),
        )
        if not request.HasField("subspace"):
            return Task(draw=drawn, problem=problem, settings=settings)
        subspace = self._subspace(drawn, request.subspace, problem.center)
        return Task(draw=drawn, problem=subspace.lowered(problem), settings=settings, subspace=subspace)

    def _subspace(self, draw: Draw, k: int, center: Head | None) -> Subspace:
        """The leading directions of a draw's rows; those of all candidates with equal rows are found once."""
        features, weight = self._material.resident(self._digest).features, np.zeros(self._labelled.y.size)
        weight[draw.rows] = draw.weight
        found = self.rows.once(("directions", draw.key), lambda: leading(features, weight, self._most_directions))
        own = self.rows.once(("logits of the center",), lambda: center_logits(features, center))
        return self.rows.once(("subspace", draw.key, k), lambda: found.first(k, center, own))

    def _sampler(self, request: pb.RefitRequest, draw: Draw) -> Floats:
        """(n,) how often each row of a draw is in a batch, in proportion."""
        labels, n_labels = self.rows.balanced_labels(request)
        return inverse_frequencies(
            labels[draw.rows],
            n_labels,
            method=BALANCE_METHODS[request.balance.method],
            may_be_absent=self.rows.may_be_absent(request),
            group_ratio=self.rows.group_ratio(request),
        )

    def _check_classes(self, draw: Draw) -> None:
        """Raise, before anything is solved, for a class without weight: its optimal free bias is minus infinity."""
        y = self._labelled.y[draw.rows]
        mass = np.bincount(y, weights=draw.weight, minlength=self.n_classes)
        if mass.all():
            return
        absent = int(np.argmin(mass))
        if absent in y:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"all rows of class {self.rows.labels.classes[absent]} weigh 0, or too little to count beside the "
                "others: give weights, or a gamma, that leave it some",
                field="weights",
            )
        raise EmptyLabelError(absent, self.n_classes)

    def _start(self, request: pb.RefitRequest, repeat: int) -> Head | None:
        """First iterate of a path. None starts at the center, so that zero is an explicit head if there is a center."""
        source = request.path.start
        if request.intercept == pb.INTERCEPT_NONE and source.kind != pb.HEAD_KIND_ZERO:
            self._check_start_without_intercept(request, self._head(source, request.seed + repeat))
        if source.kind == pb.HEAD_KIND_ZERO and request.center.kind != pb.HEAD_KIND_ZERO:
            n_features = self._labelled.manifest.n_features
            return Head(weight=np.zeros((self.n_classes, n_features)), bias=np.zeros(self.n_classes))
        return self._head(source, request.seed + repeat)

    def _check_start_without_intercept(self, request: pb.RefitRequest, start: Head | None) -> None:
        """A bias that is not fitted is the center's: refuse a start with another bias."""
        center = self._head(request.center)
        kept = np.zeros(self.n_classes) if center is None else np.asarray(center.bias)
        if start is not None and not np.array_equal(np.asarray(start.bias), kept):
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                "a path without an intercept keeps the bias of its center, zero without one, so that path.start must "
                "have that bias: start from a head that has it, or fit an intercept",
                field="path.start",
            )

    def _all_or(self, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """None stands for all rows, which then need not be gathered."""
        return None if rows.size == self._labelled.manifest.n_examples else rows

    def _offset(self, request: pb.RefitRequest, draw: Draw) -> Floats | None:
        y, tau = self._labelled.y, request.offset.tau
        # The prior is that of the rows that are fitted, by their weights.
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
        """The head that a request names; `seed` is that of a random one. None for zero."""
        match source.kind:
            case pb.HEAD_KIND_STORED:
                return self._material.head(self._digest)
            case pb.HEAD_KIND_EXPLICIT | pb.HEAD_KIND_REFIT:
                return self.rows.once(("head", source.SerializeToString()), lambda: head_from_proto(source.head).head)
            case pb.HEAD_KIND_RANDOM:
                rng = np.random.default_rng([seed, 1])
                n_features = self._labelled.manifest.n_features
                n_classes = len(self._labelled.manifest.labels.classes)
                longest = n_features**-0.5
                weight = rng.uniform(-longest, longest, (n_classes, n_features))
                return Head(weight=weight, bias=rng.uniform(-longest, longest, n_classes))
            case _:
                return None

    def _scaling(self, scaling: pb.Scaling, draw: Draw) -> Standardize | Scaler:
        """The scaling of a draw. Scalers of whole sets are kept for later requests."""
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


def _check_alike(weights: Floats) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) for weights that the head of the largest margin would not heed."""
    weighs = weights[weights > 0]
    if bool((weighs != weighs[:1]).any()):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            "weights must be equal, but for zeros that leave rows out, for the head of the largest margin "
            "(link='hinge' without l2), where every row counts alike: give l2=",
            field="weights",
        )


def _check_sum(weight: Floats) -> None:
    with np.errstate(over="ignore"):
        total = float(weight.sum())
    if not (np.isfinite(total) and total > 0):
        raise ServiceError(
            ErrorKind.NOT_FINITE,
            f"the weights of the rows that are fitted must have a finite positive sum, got {total}: a class_ratio, up, "
            "gamma or weights nearer to 1 would leave one",
            field="weights",
        )


def _scaled(name: str, strength: float, total: float) -> float:
    """A penalty strength beside a sum of losses, divided by the sum of weights. Raises ServiceError on overflow."""
    with np.errstate(over="ignore"):
        found = float(np.float64(strength) / total)
    if not np.isfinite(found):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{name} = {strength:g} beside the sum of the losses is {found} beside their mean, with weights of sum "
            f"{total:g}: give larger weights, or penalty='mean'",
            field=name,
        )
    return found


def _settings(path: pb.Path, n_rows: int, *, sampler: Floats | None, seed: int) -> TrajectorySettings:
    per_epoch = -(-n_rows // path.batch_size) if path.batch_size else 1
    steps = path.steps or path.epochs * per_epoch
    if steps > MOST_STEPS:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"a path takes at most {MOST_STEPS} steps; {path.epochs} epochs of {per_epoch} are {steps}",
            field="epochs",
        )
    return TrajectorySettings(
        optimizer=Optimizer(name_of(pb.PathOptimizer.DESCRIPTOR, path.optimizer)),
        learning_rate=path.learning_rate,
        steps=steps,
        momentum=path.momentum,
        weight_decay=path.weight_decay,
        clip_norm=path.clip_norm or None,
        normalize=path.normalize,
        schedule=Schedule(name_of(pb.PathSchedule.DESCRIPTOR, path.schedule)),
        batch_size=min(path.batch_size, n_rows) or None,
        sampler=sampler,
        keep=Keep.BEST if path.keep == pb.PATH_KEEP_BEST else Keep.LAST,
        seed=seed,
    )
