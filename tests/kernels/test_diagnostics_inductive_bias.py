"""Tails of squared errors of random heads: beside simulation, and beside the chi-square where it is one."""

import math

import numpy as np
import pytest
from diagnosed import planted, subject_of, values_of
from scipy import stats

from penult_kernels.diagnostics.capacity.random_heads import bits, log_tail
from penult_kernels.diagnostics.planner import Settings


@pytest.mark.parametrize("probability", [1e-12, 1e-4, 0.1, 0.5, 0.9])
def test_of_equal_weights_it_is_the_noncentral_chi_square(probability):
    squares, scale = np.array([0.5, 2.0, 0.0]), 1.7
    law = stats.ncx2(df=6, nc=squares.sum() / scale, scale=scale)
    found = log_tail(np.full(3, scale), squares, law.ppf(probability), 2)
    assert found == pytest.approx(math.log(probability), abs=0.03)


def test_it_is_the_share_of_random_heads_that_fit():
    """200,000 heads at the tau that is answered; at other tau the share is smaller."""
    made = planted(seed=1, n=60, d=3, k=2)
    rng = np.random.default_rng(0)
    found = values_of(
        subject_of(made), "inductive_bias", Settings(replicates=0, matched=0, numbers={"bias_error": 0.8})
    )
    one = found["inductive_bias_bits", (), ""]
    tau = float(one.note.split("tau = ")[1].split(",")[0])
    z, target = made["x"] - made["x"].mean(axis=0), np.eye(2)[made["y"]] - np.eye(2)[made["y"]].mean(axis=0)

    def share(scale):
        heads = rng.standard_normal((200_000, 3, 2)) * scale
        gram, cross = z.T @ z, z.T @ target
        error = np.einsum("hik,ij,hjk->h", heads, gram, heads) - 2 * np.einsum("hik,ik->h", heads, cross)
        return np.mean(error + (target**2).sum() <= 0.8 * (target**2).sum())

    at = share(tau)
    assert one.value == pytest.approx(-math.log2(at), abs=0.1)
    assert share(2 * tau) < at
    assert share(tau / 3) < at


def test_smaller_errors_are_rarer_and_what_no_head_reaches_is_said():
    made = planted(seed=2, n=80, k=3)
    values = [
        values_of(subject_of(made), "inductive_bias", Settings(replicates=0, matched=0, numbers={"bias_error": share}))
        for share in (0.9, 0.6, 1e-3)
    ]
    loose, tight, impossible = (one["inductive_bias_bits", (), ""] for one in values)
    assert 0 < loose.value < tight.value
    assert "no head has an error below" in impossible.note
    # Turning the features, or scaling them, changes tau alone.
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((7, 7)))[0]
    moved = values_of(
        subject_of(made | {"x": made["x"] @ turn * 5}),
        "inductive_bias",
        Settings(replicates=0, matched=0, numbers={"bias_error": 0.6}),
    )
    assert moved["inductive_bias_bits", (), ""].value == pytest.approx(tight.value, rel=1e-6)


def test_tau_is_profiled():
    values, squares = np.array([4.0, 1.0]), np.array([3.0, 0.2])
    least, tau = bits(values, squares, 0.1, 1.5, 2)
    every = [-log_tail(values * (tau * f) ** 2, squares, 1.4, 2) / math.log(2) for f in (0.5, 0.9, 1.1, 2.0)]
    assert least < min(every)
