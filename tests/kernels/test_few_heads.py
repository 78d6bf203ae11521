"""Products with few heads in small panels, and passes over the rows on threads: the same for any number of these."""

from collections.abc import Iterator

import numpy as np
import pytest

from penult_kernels import few_heads
from penult_kernels.few_heads import logits_of, sums_of
from penult_kernels.linear.solve import Link, Problem, solve
from penult_kernels.products import spread_over, summed


@pytest.fixture(autouse=True)
def left_to_the_blas_afterwards() -> Iterator[None]:
    yield
    spread_over(0)


@pytest.mark.parametrize("has_small_products", [False, True])
@pytest.mark.parametrize("n_heads", [1, 2, 4, 5, 12, 17, 31, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "d"), [(500, 33), (301, 1280), (3, 5), (128, 17)])
def test_products(rng, monkeypatch, n: int, d: int, dtype: type, n_heads: int, has_small_products: bool) -> None:
    """On processors of either kind."""
    monkeypatch.setattr(few_heads, "HAS_SMALL_PRODUCTS", has_small_products)
    if d < 100:
        monkeypatch.setattr(few_heads, "NO_COPY", 128 * 16 * 12)
        monkeypatch.setattr(few_heads, "CACHED_NUMBERS", 1000)
    rows = rng.standard_normal((n + 7, d)).astype(dtype)[7:]
    weight, residuals = (rng.standard_normal((k, n_heads)).astype(dtype) for k in (d, n))
    exact = rows.astype(np.float64)
    for threads in (0, 1, 2):
        spread_over(threads)
        found = logits_of(rows, weight)
        assert found.dtype == dtype
        close = 1e-5 if dtype == np.float32 else 1e-13
        np.testing.assert_allclose(found, exact @ weight, rtol=0, atol=close * d)
        for fine in (False, True):
            found = sums_of(rows, residuals, fine=fine)
            assert found.dtype == np.float64
            np.testing.assert_allclose(found, residuals.T @ exact, rtol=0, atol=close * n)
        in_columns = np.asfortranarray(rows)
        np.testing.assert_allclose(sums_of(in_columns, residuals), residuals.T @ exact, rtol=0, atol=close * n)


@pytest.mark.parametrize("n_parts", [1, 5, 40])
def test_sums_have_the_same_bits_for_any_number_of_threads(rng, n_parts: int) -> None:
    values = rng.standard_normal((n_parts, 3))
    found = []
    for threads in (0, 1, 2, 3):
        spread_over(threads)
        total, count = summed(lambda row: (row.copy(), np.ones(2)), list(values))
        assert np.array_equal(count, [n_parts, n_parts])
        np.testing.assert_allclose(total, values.sum(axis=0), rtol=0, atol=1e-13)
        found.append(total.tobytes())
    assert len(set(found[1:])) == 1


@pytest.mark.parametrize("n_classes", [2, 3])
def test_refits_have_the_same_bits_for_any_number_of_threads(rng, set_budget, n_classes: int) -> None:
    """By L-BFGS, over all rows and unions of them, by the space of rows, and by Newton's method alone."""
    set_budget(rows_per_tile=64)
    features = rng.standard_normal((700, 12)).astype(np.float32)
    y = rng.integers(0, n_classes, 700)
    features[:, 0] += y
    problems = [Problem(l2=float(l2)) for l2 in np.logspace(-1, -3, 9)]
    problems += [Problem(l2=0.01, rows=np.sort(rng.permutation(700)[:size])) for size in (300, 320, 10, 10)]
    problems += [Problem(l2=0.01, link=Link.OVR, weight=rng.random(700))]
    problems += [Problem(l2=0.0)]
    expected = solve(features, y, n_classes, problems, tolerance=1e-8)
    found = []
    for threads in (1, 2, 3):
        spread_over(threads)
        fits = solve(features, y, n_classes, problems, tolerance=1e-8)
        found.append(b"".join(np.asarray(one.weight).tobytes() for one in fits))
        for one, other in zip(fits, expected, strict=True):
            assert one.certificate.converged
            assert abs(one.certificate.objective - other.certificate.objective) <= 2e-8
    assert found[0] == found[1] == found[2]
