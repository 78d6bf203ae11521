"""Rows ranked within their class by spurious features (Moayeri et al. 2022, arXiv 2212.02648)."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import to_host
from penult_kernels.groupings.ranks import (
    ClassScales,
    between,
    class_scales,
    ends,
    gap,
    ranks,
    spuriosity,
    top_contributions,
)
from penult_kernels.linear.solve import ConvergenceWarning, Problem, Standardize, solve
from penult_server.compute.groupings.found import Floats, Found, Inputs, Integers, Rows
from penult_server.compute.groupings.methods.chosen import indices_of

NAMES = ("low", "high")
MOST = 1024
"""Features at most."""
L2 = 1e-3
"""Strength of l2 for the head that chooses features where none is given: that of the preset "erm"."""


def find(inputs: Inputs) -> Found:
    """0 for the share `quantile` of lowest spuriosity of each class, 1 for that of the highest, -1 between.

    Features are those chosen by index for all classes, or for each class those of the largest mean contribution to its
    logit under the head that was given, or without one under a head fitted on `fit`. With logits `gap` is the accuracy
    on the rows of highest spuriosity less that on the lowest, on average over the classes.
    """
    fit, n_classes = inputs.fit, len(inputs.fit.labels.classes)
    scales = class_scales(fit.features, fit.y, _chosen(inputs))
    low, high = ends(spuriosity(fit.features, fit.y, scales), fit.y, n_classes, inputs.numbers["quantile"])
    rule = {"features": scales.features, "mean": scales.mean, "std": scales.std, "low": low, "high": high}
    value, soft = assign(rule, inputs.source)
    return Found(
        value=value,
        names=NAMES,
        soft=soft,
        rule="spuriosity",
        rule_arrays=rule,
        scores=_gaps(inputs.source, _score(rule, inputs.source), int(inputs.numbers["top"])),
    )


def assign(rule: Mapping[str, NDArray[Any]], rows: Rows) -> tuple[Integers, NDArray[np.float32]]:
    """The same features, scales and ends for other rows; how far one belongs is its rank among these."""
    score = _score(rule, rows)
    rank = ranks(score, rows.y)
    value = between(score, rows.y, rule["low"], rule["high"])
    return value, np.stack([1 - rank, rank], axis=1).astype(np.float32)


def _score(rule: Mapping[str, NDArray[Any]], rows: Rows) -> Floats:
    scales = ClassScales(features=rule["features"], mean=rule["mean"], std=rule["std"])
    return spuriosity(rows.features, rows.y, scales)


def _chosen(inputs: Inputs) -> Integers:
    """(C, k) features of each class."""
    named, fit = indices_of(inputs, MOST), inputs.fit
    n_classes = len(fit.labels.classes)
    if named.size:
        return np.tile(named, (n_classes, 1))
    weight = _weight(inputs) if inputs.head is None else np.asarray(inputs.head.weight)
    k = min(int(inputs.numbers["features"]), int(fit.features.shape[1]))
    return top_contributions(fit.features, fit.y, weight, k)


def _weight(inputs: Inputs) -> Floats:
    """(C, D) of a head fitted on `fit`."""
    fit = inputs.fit
    problem = Problem(l2=L2, standardize=Standardize.ROWS)
    report = inputs.progress.stage("fitting a head", "problems")
    with warnings.catch_warnings():
        # It only orders features.
        warnings.simplefilter("ignore", ConvergenceWarning)
        n_classes = len(fit.labels.classes)
        (fitted,) = solve(fit.features, fit.y, n_classes, [problem], check=inputs.check, report=report)
    return to_host(fitted.weight)


def _gaps(rows: Rows, score: Floats, most: int) -> dict[str, float]:
    if rows.logits is None:
        return {}
    is_right = rows.logits.argmax(axis=1) == rows.y
    of_classes = {
        f"gap of {name}": gap(is_right[rows.y == c], score[rows.y == c], most)
        for c, name in enumerate(rows.labels.classes)
    }
    known = [one for one in of_classes.values() if not np.isnan(one)]
    return {"gap": float(np.mean(known)), **of_classes} if known else {}
