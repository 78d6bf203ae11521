"""Errors of a head with a strong l2: it learns little but what most of a class have in common, shortcuts above all.

A head of least cross-entropy; by default features are standardised, and classes have equal weight:

    minimise over W, b:    sum_i s_i CE(W z_i + b, y_i) + l2/2 |W|^2,    s_i ~ 1 / n_(y_i)
"""

import warnings
from dataclasses import replace

import numpy as np

from penult_kernels.arrays import to_host
from penult_kernels.linear.certificate import ConvergenceWarning
from penult_kernels.linear.problem import Head, Problem, Standardize
from penult_kernels.linear.solve import solve
from penult_proto.notes import NoteId
from penult_server.compute.groupings.found import Found, Inputs
from penult_server.compute.groupings.methods.errors import found_errors
from penult_server.compute.groupings.methods.predicted import head_logits
from penult_server.notes import Note

TOLERANCE = 1e-6


def find(inputs: Inputs) -> Found:
    """1 where a head that is fitted on `fit` errs."""
    head, notes = fitted_head(inputs)
    found = found_errors(inputs, head_logits(head, inputs.source), {"weight": head.weight, "bias": head.bias})
    return replace(found, notes=notes)


def fitted_head(inputs: Inputs) -> tuple[Head, tuple[Note, ...]]:
    """The head by the question's `l2`, `balance` and `standardize`, on the host; a note if it is not the optimum."""
    fit, n_classes = inputs.fit, len(inputs.fit.labels.classes)
    counts = np.bincount(fit.y, minlength=n_classes)
    problem = Problem(
        weight=1.0 / counts[fit.y] if inputs.words["balance"] == "class" else None,
        l2=inputs.numbers["l2"],
        standardize=Standardize(inputs.words["standardize"]),
    )
    report = inputs.progress.stage("fitting a head", "problems")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        (fitted,) = solve(
            fit.features,
            fit.y,
            n_classes,
            [problem],
            tolerance=TOLERANCE,
            check=inputs.check,
            report=report,
        )
    head = Head(weight=to_host(fitted.weight), bias=to_host(fitted.bias))
    if fitted.certificate.converged:
        return head, ()
    text = f"the head is {fitted.certificate.gap:.2g} above the optimum at most, more than was meant: raise l2"
    return head, (Note(NoteId.NOT_CONVERGED, text),)
