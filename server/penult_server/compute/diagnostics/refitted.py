"""A stored refit as problems with their optima: its draws made again from its request, and solved from its head."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.diagnostics.influence.fitted import Fitted
from penult_kernels.linear.problem import Head, Problem
from penult_kernels.linear.solve import Fit
from penult_kernels.sampling.plans import halves
from penult_proto.notes import NoteId
from penult_proto.v1 import influence_pb2
from penult_proto.v1 import refits_pb2 as pb
from penult_server.compute.refits.checks import match_names
from penult_server.compute.refits.material import RefitMaterial
from penult_server.compute.refits.named_heads import head_from_proto
from penult_server.compute.refits.problems import ProblemMaker, Subset
from penult_server.compute.refits.work import Interest, Solve, do_together
from penult_server.compute.rows.resident import Labelled
from penult_server.compute.spectra.parts import Resources
from penult_server.notes import Note
from penult_server.questions.refit_scalars import candidate_at

Floats = NDArray[np.float64]
TOLERANCE = 1e-13
"""Tolerance of the optima: what one row of thousands changes is compared with the difference of two of them."""
MOST_ITERATIONS = 1000


@dataclass(frozen=True, kw_only=True, eq=False)
class Refitted:
    """The draws of a refit and their optima."""

    digest: str
    """The set that was fitted."""
    problems: Sequence[Problem]
    optima: Sequence[Fit]
    is_mean: bool
    """Whether penalties stand beside the mean of the losses."""
    labels: Labelled
    row_ids: NDArray[np.uint64]
    features: Any
    n_classes: int
    notes: tuple[Note, ...]
    material: RefitMaterial
    resources: Resources

    @property
    def head(self) -> Head:
        """The mean of the optima: the stored head within its tolerance."""
        return mean_head(self.optima)

    @cached_property
    def fitted(self) -> Fitted:
        """The same for the kernels."""
        return Fitted(
            features=self.features,
            y=self.labels.y,
            n_classes=self.n_classes,
            problems=self.problems,
            optima=self.optima,
            is_mean=self.is_mean,
            check=self.resources.check,
        )

    def logits(self) -> Floats:
        """(N, C) of the mean head on the rows that were fitted."""
        return self.material.backend.to_host(self.material.logits_of(self.digest, [self.head])[0])

    def solved(self, problems: Sequence[Problem]) -> list[Fit]:
        """Optima of problems over the same features. Raises EmptyLabelError where a class has no row."""
        return _solved(self.digest, problems, self.material, self.resources)


def mean_head(heads: Sequence[Head]) -> Head:
    """The head whose logits are the mean of theirs."""
    return Head(
        weight=np.mean([one.weight for one in heads], axis=0), bias=np.mean([one.bias for one in heads], axis=0)
    )


def refitted(fitted: influence_pb2.FittedRefit, material: RefitMaterial, resources: Resources) -> Refitted:
    """The draws of a stored refit, solved again from its head."""
    request = match_names(fitted.request, material).request
    maker = ProblemMaker(request, material)
    tasks = maker.tasks(candidate_at(request, fitted.chosen), _subset(request, maker))
    labels = material.resident(request.feature_set, resources.check)
    optima = _solved(request.feature_set, [task.problem for task in tasks], material, resources)
    stored = head_from_proto(fitted.head).head
    moved = float(np.abs(mean_head(optima).weight - stored.weight).max(initial=0.0))
    notes: tuple[Note, ...] = ()
    if moved > 1e-3 * float(np.abs(stored.weight).max(initial=1e-300)):
        text = (
            f"the draws were solved again to a tighter tolerance, which moved a weight of the head by up to {moved:.2g}"
        )
        notes = (Note(NoteId.NOT_CONVERGED, text),)
    return Refitted(
        digest=request.feature_set,
        problems=[task.problem for task in tasks],
        optima=optima,
        is_mean=request.penalty_scale != pb.PENALTY_SCALE_SUM,
        labels=labels,
        row_ids=material.row_ids(request.feature_set),
        features=labels.features,
        n_classes=maker.n_classes,
        notes=notes,
        material=material,
        resources=resources,
    )


def _subset(request: pb.RefitRequest, maker: ProblemMaker) -> Subset:
    """The rows among which the candidate that was returned drew."""
    if not request.HasField("select") or request.select.final == pb.SELECT_FINAL_REFIT:
        return Subset(among=maker.universe, repeats=request.repeats, scaling=request.scaling)
    among = maker.universe
    if request.select.WhichOneof("on") == "half":
        among = among[halves(among.size, seed=request.seed)[1]]
    return Subset(among=among, repeats=request.select.repeats, scaling=request.select.scaling)


def _solved(digest: str, problems: Sequence[Problem], material: RefitMaterial, resources: Resources) -> list[Fit]:
    if not problems:
        return []
    work = Solve(digest=digest, problems=problems, tolerance=TOLERANCE, max_iterations=MOST_ITERATIONS)
    interest = Interest(check=resources.check, is_wanted=lambda place: True, progress=resources.progress)
    (found,) = do_together([work], material, interest)
    return found
