"""Columns and products of many rows, whatever of them is kept."""

import numpy as np
import pytest

from penult_kernels.linear.l1.columns import RawColumns

N, D = 90, 12


@pytest.fixture(params=["a run", "some"])
def rows(request) -> np.ndarray:
    return np.arange(7, 80) if request.param == "a run" else np.arange(3, N, 2)


@pytest.fixture(params=["float32", "float64"])
def features(request, rng) -> np.ndarray:
    return (rng.standard_normal((N, D)) + 5).astype(request.param)


@pytest.mark.parametrize("room", [1, 4, D])
def test_columns_are_those_of_the_features(rng, set_budget, features, rows, room):
    set_budget(stored_columns_bytes=room * rows.size * features.itemsize, rows_per_tile=20)
    columns = RawColumns(features, rows)
    for _ in range(30):
        wanted = rng.choice(D, rng.integers(1, D), replace=False)
        if rng.random() < 0.5:
            columns.keep(np.sort(wanted))
        places = rng.choice(rows.size, 11)
        found = columns.columns(wanted, places)
        np.testing.assert_array_equal(found, features[rows][places][:, wanted].T)


def test_a_product_is_that_of_wide_rows(rng, set_budget, features, rows):
    set_budget(rows_per_tile=20)
    residuals = rng.standard_normal((3, rows.size))
    found = RawColumns(features, rows).product(residuals)
    expected = residuals @ features[rows].astype(np.float64)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_a_distant_mean_costs_less_than_the_rounding_of_the_rows(rng):
    """What is taken off the product afterwards, beside what the type of the rows had lost already."""
    features = (rng.standard_normal((N, D)) + 1e6).astype(np.float32)
    residuals = rng.standard_normal((1, N)) / N
    centered = features.astype(np.float64) - 1e6
    found = RawColumns(features, np.arange(N)).product(residuals) - residuals.sum(axis=1, keepdims=True) * 1e6
    assert np.abs(found - residuals @ centered).max() < 1e-3 * np.spacing(np.float32(1e6))
