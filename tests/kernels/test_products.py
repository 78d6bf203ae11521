"""Large products on threads: NumPy's answers, the same bits for any number of threads, and errors that come through."""

from collections.abc import Iterator

import numpy as np
import pytest

from penult_kernels import products
from penult_kernels.products import gram, on_threads, product, spread_over


@pytest.fixture(autouse=True)
def alone_afterwards() -> Iterator[None]:
    yield
    spread_over(0)


@pytest.fixture
def always_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "SMALLEST_SPLIT", 1)
    monkeypatch.setattr(products, "WORK_OF_PANEL", 64)
    monkeypatch.setattr(products, "NARROWEST_PANEL", 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("m", "k", "n"), [(65, 7, 3), (3, 7, 65), (1, 5, 1), (40, 11, 40), (37, 1, 5)])
@pytest.mark.usefixtures("always_split")
def test_products(m: int, k: int, n: int, dtype: type) -> None:
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((n, k)).astype(dtype).T
    expected = left @ right
    assert product(left, right).tobytes() == expected.tobytes()
    found = []
    for threads in (2, 3, 5):
        spread_over(threads)
        found.append(product(left, right))
        assert found[-1].dtype == dtype
        np.testing.assert_allclose(found[-1], expected, rtol=1e-5, atol=1e-5)
    assert len({one.tobytes() for one in found}) == 1


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("n", "k"), [(65, 7), (1, 5), (40, 11), (5, 90), (13, 1)])
@pytest.mark.usefixtures("always_split")
def test_gram(n: int, k: int, transposed: bool) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((k, n)).T if transposed else rng.standard_normal((n, k))
    expected = rows @ rows.T
    found = []
    for threads in (2, 3, 5):
        spread_over(threads)
        found.append(gram(rows))
        out = np.full((n, n), np.nan)
        assert gram(rows, out=out) is out
        assert out.tobytes() == found[-1].tobytes()
        np.testing.assert_allclose(found[-1], expected, rtol=1e-12, atol=1e-12)
        assert np.array_equal(found[-1], found[-1].T)
    assert len({one.tobytes() for one in found}) == 1


def test_what_is_large_is_split_and_what_is_small_is_not() -> None:
    spread_over(2)
    large, small = np.ones((512, 512), np.float32), np.ones((8, 8), np.float32)
    assert (product(large, large) == 512).all()
    assert (gram(large) == 512).all()
    assert (product(small, small) == 8).all()
    assert (gram(small) == 8).all()


def test_nested_work_ends() -> None:
    """Every thread asks for products of its own while all of them are at work."""
    spread_over(3)
    large = np.ones((512, 512), np.float32)
    assert on_threads(lambda scale: float(product(scale * large, large)[0, 0]), range(9)) == [
        512.0 * scale for scale in range(9)
    ]


@pytest.mark.parametrize("threads", [1, 3])
def test_errors_come_through(threads: int) -> None:
    spread_over(threads)

    def fails(item: int) -> int:
        if item == 3:
            raise KeyError(item)
        return item

    with pytest.raises(KeyError):
        on_threads(fails, range(6))
    assert on_threads(fails, [0, 1, 2]) == [0, 1, 2]
