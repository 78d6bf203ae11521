"""FACTS (Yenamandra et al. 2023, arXiv 2309.17430): a mixture of each class over features and biased predictions.

Its first stage makes a biased model by training with strong regularisation; on stored features that is a head with a
strong l2 (`regularised_errors`), unless predictions are those given. Its second is a mixture of each class,

    p(s) N(z; mu_s, diag) N(q; nu_s, full)^w,      q = softmax of the biased logits,  w = 25,

from responsibilities that begin as the predicted probabilities. The authors ask for 36 components; from their start
only as many as there are classes differ, and the others are copies: so that number is the default here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import asarray_like
from penult_kernels.groupings.mixture import Mixture, fit_mixtures, responsibilities
from penult_kernels.groupings.points import mean_variance
from penult_kernels.groupings.views import GaussianView
from penult_kernels.linear.problem import Head
from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_server.compute.groupings.found import Floats, Found, Inputs, Integers, Rows
from penult_server.compute.groupings.methods.clustering.classes import (
    Assigned,
    ClassTask,
    Partition,
    Scores,
    assign_by_class,
    by_size,
    find_by_class,
    split_prefixes,
)
from penult_server.compute.groupings.methods.clustering.gmm import FLOOR
from penult_server.compute.groupings.methods.clustering.joint import (
    head_arrays,
    kmeans_start,
    not_converged,
    probabilities,
    stored_logits,
)
from penult_server.compute.groupings.methods.clustering.models import Gaussians
from penult_server.compute.groupings.methods.clustering.spaces import Space, reduced_space
from penult_server.compute.groupings.methods.predicted import head_logits, logits_of
from penult_server.compute.groupings.methods.regularised_errors import fitted_head
from penult_server.errors import ServiceError
from penult_server.notes import Note

RULE = "facts"
MOST_CLASSES = 64
"""Covariances of probabilities are full."""


def find(inputs: Inputs) -> Found:
    """The components of each class."""
    n_classes = len(inputs.source.labels.classes)
    k = int(inputs.numbers["components"]) or n_classes
    _check(inputs, n_classes, k)
    if inputs.words["predictions"] == "fitted":
        head, notes = fitted_head(inputs)
        inputs = _with_logits_of(inputs, head)
    else:
        head, notes = inputs.head, ()
    collected = list(notes)
    found = find_by_class(inputs, lambda task: _fit(task, k, collected), k=k, rule=RULE)
    return replace(found, rule_arrays={**found.rule_arrays, **head_arrays(head)}, notes=tuple(collected))


def _check(inputs: Inputs, n_classes: int, k: int) -> None:
    if n_classes > MOST_CLASSES:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"facts takes at most {MOST_CLASSES} classes, whose probabilities have full covariances, got {n_classes}: "
            "use method='domino'",
            field="method",
        )
    if inputs.words["start"] == "predictions" and k > n_classes:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{k} components that begin as the {n_classes} predicted classes would be copies of each other: give "
            f"components={n_classes} or fewer, or start='kmeans'",
            field="numbers",
        )


def _with_logits_of(inputs: Inputs, head: Head) -> Inputs:
    """The same question about the logits of another head."""
    source = replace(inputs.source, logits=head_logits(head, inputs.source))
    is_one = inputs.fit is inputs.source
    fit = source if is_one else replace(inputs.fit, logits=head_logits(head, inputs.fit))
    return replace(inputs, source=source, fit=fit)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Joint:
    """A class as components over features and predictions."""

    space: Space
    features: Gaussians
    predictions: Gaussians
    exponent: float
    value: Integers
    """(k,)"""

    @property
    def n_values(self) -> int:
        """Groups of the class."""
        return int(self.value.max()) + 1

    def shares(self, rows: Rows, index: Integers) -> Floats:
        """(m, k) how far the rows at `index` belong to each component."""
        points = self.space.points(rows, index)
        z = points.tile(slice(0, points.n))
        q = asarray_like(probabilities(logits_of(rows)[index]), z)
        views = (self.features.view(z), self.predictions.view(q, self.exponent))
        return responsibilities(Mixture(weight=asarray_like(self.features.weight, z), views=views), views)

    def assign(self, rows: Rows, index: Integers) -> Assigned:
        """(m,) values, and (m, V)."""
        shares = self.shares(rows, index)
        return self.value[np.argmax(shares, axis=1)], shares[:, np.argsort(self.value)]

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """For a rule."""
        of_predictions = {f"q_{name}": array for name, array in self.predictions.arrays().items()}
        more = {"value": self.value, "exponent": np.asarray([self.exponent])}
        return {**self.space.arrays(), **self.features.arrays(), **of_predictions, **more}

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> "_Joint":
        """The inverse of `arrays`."""
        return _Joint(
            space=Space.from_arrays(arrays),
            features=Gaussians.from_arrays(arrays),
            predictions=Gaussians.from_arrays(
                {name.removeprefix("q_"): array for name, array in arrays.items() if name.startswith("q_")}
            ),
            exponent=float(arrays["exponent"][0]),
            value=arrays["value"],
        )


def _fit(task: ClassTask, k: int, notes: list[Note]) -> tuple[Partition, Scores]:
    numbers = task.inputs.numbers
    space = reduced_space(task, task.number("axes"))
    points = space.points(task.rows, task.index)
    z = points.tile(slice(0, points.n))
    predicted = probabilities(logits_of(task.rows)[task.index])
    if task.inputs.words["start"] == "predictions":
        start = _predicted_start(predicted, task.y, k)
    else:
        start = kmeans_start(points, k, task.rng, task.inputs)
    views = [
        GaussianView(
            rows=z,
            center=asarray_like(np.zeros(points.p), z),
            covariance_type="diag",
            floor=FLOOR * mean_variance(points),
        ),
        GaussianView(
            rows=asarray_like(predicted, z),
            center=asarray_like(predicted.mean(axis=0), z),
            covariance_type="full",
            floor=numbers["prediction_floor"],
            weight=numbers["prediction_weight"],
        ),
    ]
    (found,) = fit_mixtures(
        views,
        [start],
        max_iterations=int(numbers["max_iterations"]),
        tolerance=numbers["tolerance"],
        check=task.inputs.check,
    )
    if not found.converged:
        notes.append(Note(NoteId.NOT_CONVERGED, f"class {task.name!r}: {not_converged(found)}"))
    joint = _Joint(
        space=space,
        features=Gaussians.of(found),
        predictions=Gaussians.of(found, 1),
        exponent=numbers["prediction_weight"],
        value=np.arange(k),
    )
    likeliest = np.argmax(joint.shares(task.rows, task.index), axis=1)
    if np.unique(likeliest).size < 2:
        raise task.refused(f"its {task.n} rows fall into one component, which nothing divides")
    return replace(joint, value=by_size(likeliest, k)), {"components": int(np.unique(likeliest).size)}


def _predicted_start(predicted: Floats, y: int, k: int) -> Floats:
    """(n, k) the probabilities of the own class and of the first others."""
    order = [y, *(other for other in range(predicted.shape[1]) if other != y)]
    kept = predicted[:, order[:k]] + np.finfo(np.float64).eps
    return kept / kept.sum(axis=1, keepdims=True)


def assign(rule: Mapping[str, NDArray[Any]], rows: Rows) -> tuple[Integers, NDArray[np.float32] | None]:
    """Components of other rows, by the head of the rule or their own logits."""
    told = replace(rows, logits=stored_logits(rule, rows))
    return assign_by_class({y: _Joint.from_arrays(of) for y, of in split_prefixes(rule).items()}, told)
