"""Unbiased HSIC of linear kernels in feature form: nothing of n x n, and every value without one row in closed form.

K = X X^T and L = Y Y^T of n rows, K~ and L~ the same with zero diagonals, k = K~ 1, l = L~ 1 (Song et al. 2012, eq. 5):

    HSIC_1 = [tr K~L~ + (1^T k)(1^T l) / ((n - 1)(n - 2)) - 2 k.l / (n - 2)] / (n (n - 3)),

    tr K~L~ = |X^T Y|_F^2 - sum |x_i|^2 |y_i|^2,    k_i = x_i . X^T 1 - |x_i|^2.

It does not change when all rows are shifted.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, to_host

Floats = NDArray[np.float64]
Number: TypeAlias = Floats | float
Side: TypeAlias = tuple[Array, Array, float]
"""What is summed of one set: sum x_i, sums x_i |.|^2 by both sets, sum |x_i|^2."""
FEWEST = 4
"""Rows of the unbiased estimate, at least."""


@dataclass(slots=True, eq=False)
class Products:
    """Sums over rows of two sets, on their device: what three HSICs are computed from."""

    n: int
    xy: Array
    """(D, D') sum x_i y_i^T."""
    xx: Array
    yy: Array
    x: Array
    """(D,) sum x_i."""
    y: Array
    x_by: Array
    """(2, D) sum x_i |x_i|^2 and sum x_i |y_i|^2."""
    y_by: Array
    """(2, D') sum y_i |x_i|^2 and sum y_i |y_i|^2."""
    squares: Floats
    """(2, 2) sum |x|^4, sum |x|^2 |y|^2, and the same of y."""
    norms: Floats
    """(2,) sum |x|^2 and sum |y|^2."""

    def __add__(self, other: "Products") -> "Products":
        fields = self.__dataclass_fields__
        return Products(*(getattr(self, name) + getattr(other, name) for name in fields))

    def kernels(self) -> tuple["Kernel", "Kernel", "Kernel"]:
        """X with itself, Y with itself, X with Y."""
        x, y = (self.x, self.x_by, self.norms[0]), (self.y, self.y_by, self.norms[1])
        return (
            Kernel(self.n, self.xx, x, x, (0, 0), self.squares[0, 0]),
            Kernel(self.n, self.yy, y, y, (1, 1), self.squares[1, 1]),
            Kernel(self.n, self.xy, x, y, (1, 0), self.squares[0, 1]),
        )


def products_of(x: Array, y: Array) -> Products:
    """The sums of some rows (n, D) and (n, D'), float64."""
    xp = array_namespace(x, y)
    of_x, of_y = xp.sum(x * x, axis=1), xp.sum(y * y, axis=1)
    by = xp.stack([of_x, of_y])
    squares = to_host(by @ by.T)
    norms = to_host(xp.sum(by, axis=1))
    return Products(
        n=int(x.shape[0]),
        xy=x.T @ y,
        xx=x.T @ x,
        yy=y.T @ y,
        x=xp.sum(x, axis=0),
        y=xp.sum(y, axis=0),
        x_by=by @ x,
        y_by=by @ y,
        squares=np.asarray(squares),
        norms=np.asarray(norms),
    )


class Kernel:
    """The HSIC of two sets, and of these without each row in turn."""

    def __init__(self, n: int, cross: Array, a: Side, b: Side, other: tuple[int, int], squares: float) -> None:
        self._n, self._cross = n, cross
        (self._a, self._a_by, a_norm), (self._b, self._b_by, b_norm) = a, b
        # sum a_i |b_i|^2 and sum b_i |a_i|^2.
        self._a_weighted, self._b_weighted = self._a_by[other[0], :], self._b_by[other[1], :]
        xp = array_namespace(cross)
        self._trace = float(xp.sum(cross * cross)) - float(squares)
        self._sum_a = float(xp.sum(self._a * self._a)) - float(a_norm)
        self._sum_b = float(xp.sum(self._b * self._b)) - float(b_norm)
        self._along_a = cross @ self._b - self._a_weighted  # sum_j l_j a_j
        self._along_b = cross.T @ self._a - self._b_weighted  # sum_j k_j b_j
        self._both = (
            float(xp.sum(self._a * (cross @ self._b)))
            - float(xp.sum(self._a * self._a_weighted))
            - float(xp.sum(self._b * self._b_weighted))
            + float(squares)
        )

    def value(self) -> float:
        """HSIC_1 of all rows; NaN of fewer than four."""
        return float(_hsic(self._n, self._trace, self._sum_a, self._sum_b, self._both))

    def without_each(self, a: Array, b: Array) -> Floats:
        """(n,) HSIC_1 of all rows but one, for some of the rows."""
        xp = array_namespace(a)
        a_norm, b_norm = xp.sum(a * a, axis=1), xp.sum(b * b, axis=1)
        of_k, of_l = a @ self._a - a_norm, b @ self._b - b_norm
        both = xp.sum((a @ self._cross) * b, axis=1) - a_norm * b_norm
        u = a @ self._along_a - a_norm * of_l
        v = b @ self._along_b - b_norm * of_k
        terms = (
            self._trace - 2.0 * both,
            self._sum_a - 2.0 * of_k,
            self._sum_b - 2.0 * of_l,
            self._both - of_k * of_l - u - v + both,
        )
        return np.asarray(_hsic(self._n - 1, *(to_host(one) for one in terms)))


def _hsic(
    n: int, trace: Floats | float, sum_k: Floats | float, sum_l: Floats | float, both: Floats | float
) -> Floats | float:
    if n < FEWEST:
        return trace * np.nan
    return (trace + sum_k * sum_l / ((n - 1) * (n - 2)) - 2 * both / (n - 2)) / (n * (n - 3))


def debiased(xx: Floats | float, yy: Floats | float, xy: Floats | float) -> Floats:
    """xy / sqrt(xx yy); NaN where an HSIC of a set with itself is not positive."""
    product = np.where((np.asarray(xx) > 0) & (np.asarray(yy) > 0), np.asarray(xx) * np.asarray(yy), np.nan)
    return np.asarray(xy) / np.sqrt(product)


def debiased_of_rows(x: Array, y: Array) -> tuple[float, float, float]:
    """The HSICs of X with itself, Y with itself and X with Y, of few rows: through the smaller of n x n and D x D.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.standard_normal((7, 3)), rng.standard_normal((7, 4))
    >>> k, m, one = x @ x.T, y @ y.T, np.ones(7)
    >>> np.fill_diagonal(k, 0)
    >>> np.fill_diagonal(m, 0)
    >>> naive = np.trace(k @ m) + one @ k @ one * (one @ m @ one) / 30 - 2 * one @ k @ m @ one / 5
    >>> bool(np.isclose(debiased_of_rows(x, y)[2], naive / 28))
    True
    """
    xp = array_namespace(x, y)
    n = int(x.shape[0])
    if n > min(x.shape[1], y.shape[1]):
        xx, yy, xy = (one.value() for one in products_of(x, y).kernels())
        return xx, yy, xy
    off = 1.0 - xp.eye(n, dtype=x.dtype, device=x.device)
    gram_x, gram_y = (x @ x.T) * off, (y @ y.T) * off
    of_k, of_l = xp.sum(gram_x, axis=1), xp.sum(gram_y, axis=1)
    found: list[float] = []
    for first, second, own, other in (
        (gram_x, gram_x, of_k, of_k),
        (gram_y, gram_y, of_l, of_l),
        (gram_x, gram_y, of_k, of_l),
    ):
        trace, both = float(xp.sum(first * second)), float(xp.sum(own * other))
        found.append(float(_hsic(n, trace, float(xp.sum(own)), float(xp.sum(other)), both)))
    return found[0], found[1], found[2]
