"""Weights and the head of the largest margin, in which every row counts alike: refused, not left unheeded."""

import numpy as np
import pytest

import penult

PLAIN = {"link": "hinge", "standardize": False}


@pytest.fixture(scope="module")
def apart(client):
    """Rows that a head without a bias separates."""
    rng = np.random.default_rng(0)
    y, a = np.arange(40) % 2, np.arange(40) // 2 % 2
    features = rng.standard_normal((40, 3)) + 9 * np.eye(3)[y]
    return client.features.upload(features.astype(np.float32), y, a)


def test_weights_of_a_hard_margin_may_only_leave_rows_out(client, apart):
    kept = np.where(np.arange(40) < 25, 2.0, 0.0)
    found = client.refit(apart, **PLAIN, weights=kept)
    few = client.refit(apart, **PLAIN, rows=client.features.read(apart).row_id[:25])
    np.testing.assert_allclose(found.head.weight, few.head.weight, rtol=1e-6)
    with pytest.raises(penult.InvalidRequest, match="weights must be equal"):
        client.refit(apart, **PLAIN, weights=np.linspace(1, 2, 40))


def test_a_grid_that_has_the_hard_margin_too(client, apart):
    grid = {"grid": {"l2": [0.0, 0.1]}, "select": {"on": apart}}
    with pytest.raises(penult.InvalidRequest, match="balance must be another than 'upweighting'"):
        client.refit(apart, **PLAIN, **grid, balance="upweighting", by="group")
    with pytest.raises(penult.InvalidRequest, match="class_ratio must be 1"):
        client.refit(apart, **PLAIN, **grid, class_ratio=2.0)
