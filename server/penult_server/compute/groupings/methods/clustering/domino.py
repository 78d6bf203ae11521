"""Domino (Eyuboglu et al. 2022, arXiv 2203.14960): a mixture of features, labels and predictions over all classes.

    p(s) N(z; mu_s, diag) p(y | s)^g (sum_c yhat_c p(c | s))^ghat

Slices are the components whose predictions exceed their labels most in some class: max_c (p(yhat = c | s) - p(y = c |
s)). Every row belongs to its likeliest component; the rows of all others are the rest, and so are those of a slice
that has too few rows of their class to make a group. The authors' prediction for new rows leaves labels and
predictions out of the likelihood that they were fitted with; here other rows are assigned by all three.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import asarray_like, to_host
from penult_kernels.groupings.mixture import Mixture, fit_mixtures, responsibilities
from penult_kernels.groupings.pca import principal_axes, project
from penult_kernels.groupings.points import Points, mean_variance
from penult_kernels.groupings.views import CategoricalView, GaussianView
from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_server.compute.groupings.found import Floats, Found, Inputs, Integers, Rows
from penult_server.compute.groupings.methods.clustering.classes import check_groups
from penult_server.compute.groupings.methods.clustering.gmm import FLOOR
from penult_server.compute.groupings.methods.clustering.joint import (
    check_components,
    check_width,
    confusion_start,
    head_arrays,
    kmeans_start,
    not_converged,
    probabilities,
    stored_logits,
)
from penult_server.compute.groupings.methods.clustering.models import Gaussians
from penult_server.compute.groupings.methods.clustering.spaces import values
from penult_server.compute.groupings.methods.predicted import logits_of
from penult_server.errors import ServiceError
from penult_server.notes import Note

RULE = "domino"
"""Arrays: those of Gaussians; origin, basis; label_of, predicted_of (k, C); weights (2,); value (C, k)."""


def find(inputs: Inputs) -> Found:
    """The slices of the source."""
    numbers, fit, n_classes = inputs.numbers, inputs.fit, len(inputs.fit.labels.classes)
    k = int(numbers["components"])
    check_components(k, n_classes**2, inputs.words["start"])
    check_groups(2, fit.y.size)
    if fit.y.size < 2 * k:
        raise ServiceError(
            ErrorKind.EMPTY_GROUP,
            f"{fit.y.size} rows are too few for {k} components, which take {2 * k} at least: ask for fewer",
        )
    order = np.argsort(fit.row_id, kind="stable")
    ordered = _ordered(fit, order)
    axes = principal_axes(ordered.features, int(numbers["axes"]))
    if not int(axes.basis.shape[1]):
        raise ServiceError(ErrorKind.EMPTY_GROUP, f"all {fit.y.size} rows have equal features: nothing divides them")
    rule = {"origin": to_host(axes.mean), "basis": to_host(axes.basis), **head_arrays(inputs.head)}
    rule["weights"] = np.asarray([numbers["label_weight"], numbers["prediction_weight"]])
    mixture = _fit(inputs, ordered, rule)
    label_of, predicted_of = (to_host(view.probability) for view in mixture.views[1:])
    rule |= {**Gaussians.of(mixture).arrays(), "label_of": label_of, "predicted_of": predicted_of}
    likeliest = np.argmax(_shares(rule, ordered), axis=1)
    gaps = (predicted_of - label_of).max(axis=1)
    sizes = np.zeros((n_classes, k), np.int64)
    np.add.at(sizes, (ordered.y, likeliest), 1)
    value = _values(gaps, sizes >= numbers["min_rows"], int(numbers["slices"]))
    used = int(value.max())
    if not used:
        raise ServiceError(
            ErrorKind.EMPTY_GROUP,
            f"no component has {int(numbers['min_rows'])} rows of a class: give more rows with fit=..., fewer "
            "components, or a lower min_rows",
        )
    rule["value"] = value
    found, soft = assign(rule, inputs.source)
    first = {slice_: int(np.flatnonzero((value == slice_).any(axis=0))[0]) for slice_ in range(used)}
    names = (*(f"slice {slice_ + 1}" for slice_ in range(used)), "rest")
    return Found(
        value=found,
        names=names,
        soft=soft,
        rule=RULE,
        rule_arrays=rule,
        scores={f"error gap of {names[slice_]}": float(gaps[at]) for slice_, at in first.items()},
        notes=() if mixture.converged else (Note(NoteId.NOT_CONVERGED, not_converged(mixture)),),
    )


def _ordered(rows: Rows, order: Integers) -> Rows:
    """The same rows by ascending row id; features that are so already are not copied."""
    given = values(rows, order, "features")
    return replace(
        rows,
        features=given.features if given.positions is None else given.block(slice(0, order.size)),
        y=rows.y[order],
        a=rows.a[order],
        row_id=rows.row_id[order],
        logits=None if rows.logits is None else rows.logits[order],
    )


def _fit(inputs: Inputs, rows: Rows, rule: Mapping[str, NDArray[Any]]) -> Mixture:
    numbers, k = inputs.numbers, int(inputs.numbers["components"])
    labels = np.eye(len(rows.labels.classes))[rows.y]
    predicted = probabilities(logits_of(rows))
    z = project(rows.features, asarray_like(rule["origin"], rows.features), asarray_like(rule["basis"], rows.features))
    points = Points(rows=z)
    rng = np.random.default_rng([inputs.seed])
    if inputs.words["start"] == "confusion":
        start = confusion_start(labels, predicted, k, numbers["noise"], rng)
    else:
        start = kmeans_start(points, k, rng, inputs)
    floor = FLOOR * mean_variance(points)
    views = [
        GaussianView(rows=z, center=asarray_like(np.zeros(int(z.shape[1])), z), covariance_type="diag", floor=floor),
        CategoricalView(rows=asarray_like(labels, z), weight=numbers["label_weight"]),
        CategoricalView(rows=asarray_like(predicted, z), weight=numbers["prediction_weight"]),
    ]
    (found,) = fit_mixtures(views, [start], max_iterations=int(numbers["max_iterations"]), check=inputs.check)
    return found


def _values(gaps: Floats, is_group: NDArray[np.bool_], n_slices: int) -> Integers:
    """(C, k) the value of each component for the rows of a class; the largest is that of the rest.

    Slices are the components of the largest gaps, the worst first, among those that have rows enough of some class.
    """
    order = np.argsort(-gaps, kind="stable")
    slices = order[is_group[:, order].any(axis=0)][:n_slices]
    value = np.full(is_group.shape, slices.size, np.int64)
    for place, component in enumerate(slices.tolist()):
        value[is_group[:, component], component] = place
    return value


def _shares(rule: Mapping[str, NDArray[Any]], rows: Rows) -> Floats:
    """(n, k) how far rows belong to each component."""
    check_width(rows, rule["origin"].size)
    logits = stored_logits(rule, rows)
    features = values(rows, np.arange(rows.y.size), "features")
    z = project(features, asarray_like(rule["origin"], features.like), asarray_like(rule["basis"], features.like))
    labels = np.eye(rule["label_of"].shape[1])[rows.y]
    label_weight, prediction_weight = rule["weights"].tolist()
    views = (
        Gaussians.from_arrays(rule).view(z),
        CategoricalView(
            rows=asarray_like(labels, z), weight=label_weight, probability=asarray_like(rule["label_of"], z)
        ),
        CategoricalView(
            rows=asarray_like(probabilities(logits), z),
            weight=prediction_weight,
            probability=asarray_like(rule["predicted_of"], z),
        ),
    )
    return responsibilities(Mixture(weight=asarray_like(rule["weight"], z), views=views), views)


def assign(rule: Mapping[str, NDArray[Any]], rows: Rows) -> tuple[Integers, NDArray[np.float32]]:
    """Slices of other rows, which need logits as those that were fitted."""
    shares = _shares(rule, rows)
    value: Integers = rule["value"]
    of_rows = value[rows.y]
    soft = np.zeros((rows.y.size, int(value.max()) + 1), np.float32)
    np.add.at(soft, (np.arange(rows.y.size)[:, None], of_rows), shares.astype(np.float32))
    return of_rows[np.arange(rows.y.size), np.argmax(shares, axis=1)], soft
