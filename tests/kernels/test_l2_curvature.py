"""L-BFGS with the Hessian of one head: what it is, what it saves, and that answers are those of their certificates."""

import numpy as np
import pytest

from penult_kernels.linear.blocks.batch import make_batch
from penult_kernels.linear.blocks.blocks import Preparation
from penult_kernels.linear.l2 import curvature, eigenbasis, lbfgs
from penult_kernels.linear.l2.eigenbasis import make_eigenbasis, make_preconditioner
from penult_kernels.linear.solve import Link, Problem, Standardize, solve
from penult_kernels.loss import probabilities


def noise(rng, n: int, d: int):
    y = rng.permutation(np.arange(n) % 2)
    return (rng.standard_normal((n, d)) + 3.0 * (y[:, None] * (np.arange(d) < 2)) + 3.0).astype(np.float32), y


@pytest.mark.parametrize("standardize", [Standardize.NONE, Standardize.ROWS])
def test_it_inverts_the_hessian_of_the_head_that_it_was_made_at(rng, monkeypatch, standardize):
    features, y = noise(rng, 400, 7)
    problem = Problem(l2=1e-2, standardize=standardize, link=Link.OVR)
    preparation = Preparation(features, y, 2)
    preparation.fit_scalings([problem])
    batch = make_batch(features, list(preparation.blocks_of(0, problem)), in_float32=True)
    basis = make_eigenbasis(features, batch.scaling.unit)
    made_of_rows = make_preconditioner(batch, basis)
    theta = batch.mask(0.3 * rng.standard_normal((1, 1, 8)))
    made = curvature.curved(batch, made_of_rows, theta[0], curvature.Slow(0, np.ones(1, bool)))
    monkeypatch.setattr(eigenbasis, "INNER_ERROR", 1e-7)
    p = probabilities(batch.logits(theta) + batch.offset)
    vector = batch.mask(rng.standard_normal((1, 1, 8)))
    image = batch.hessian_product(batch.curvature(p), vector)
    errors = [float(np.linalg.norm(one.at(batch, p)(image) - vector)) for one in (made, made_of_rows)]
    assert errors[0] <= 2e-3 * np.linalg.norm(vector)
    assert errors[1] >= 0.05 * np.linalg.norm(vector), "the covariance of the rows is another matrix"


def test_where_many_evaluations_are_left_it_saves_some_of_them(rng, monkeypatch):
    features, y = noise(rng, 900, 40)
    problems = [Problem(l2=float(l2), standardize=Standardize.ROWS) for l2 in np.logspace(-6, -4, 4)]
    monkeypatch.setattr(lbfgs, "MOST_MADE", 0)
    without = solve(features, y, 2, problems, tolerance=1e-7)
    monkeypatch.setattr(lbfgs, "MOST_MADE", 3)
    made = []
    own = curvature.curved
    monkeypatch.setattr("penult_kernels.linear.l2.feature_space.curved", lambda *a: made.append(a) or own(*a))
    found = solve(features, y, 2, problems, tolerance=1e-7)
    assert made
    for one, other in zip(found, without, strict=True):
        assert one.certificate.converged
        assert other.certificate.converged
        assert abs(one.certificate.objective - other.certificate.objective) <= 1e-7 * np.log(2)
    assert sum(one.certificate.passes for one in found) <= 0.6 * sum(one.certificate.passes for one in without)


def test_a_lone_head_of_few_evaluations_has_none():
    gaps = [np.asarray([10.0**-k]) for k in range(7)]

    class Shape:
        sample_weight, target, n_features = np.ones((5000, 1)), np.ones((5000, 1, 1)), 100

    assert curvature.slow_blocks(Shape, gaps, np.zeros(1), 1e-8) is None
    slow = [np.asarray([0.9**k, 10.0**-k]) for k in range(7)]
    found = curvature.slow_blocks(Shape, slow, np.zeros(2), 1e-8)
    assert found is not None
    assert (found.place, found.which.tolist()) == (0, [True, False])
    assert curvature.slow_blocks(Shape, slow, np.ones(2), 1e-8) is None, "rounding leaves no more to gain"
    assert curvature.slow_blocks(Shape, slow[:6], np.zeros(2), 1e-8) is None, "too few have been seen"
