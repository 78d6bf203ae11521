"""How far a measure rises between two networks above the straight line from one to the other."""

import math
from dataclasses import dataclass
from statistics import NormalDist

from array_api_compat import array_namespace

from penult_kernels.arrays import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Barrier:
    """The largest rise over the points of a line."""

    t: float
    value: float
    low: float
    high: float
    """Ends of the interval of the mean over rows at that t, which is not adjusted for its choice; NaN for one row."""


def barrier(measured: Array, t: Array, *, confidence: float = 0.95) -> Barrier:
    """max over t of mean_i [L_i(t) - (1 - t) L_i(0) - t L_i(1)] (Frankle et al. 2020, arXiv 1912.05671).

    It is never below 0, since both ends have the rise 0. Rows are paired: the interval is that of the mean of their
    rises.

    Parameters
    ----------
    measured : (T, N) what is measured of every row at every point, such as its loss; float64.
    t : (T,) ascending places, of which the first is 0 and the last is 1; of the same library.
    confidence : of the interval, normal.

    Raises
    ------
    ValueError : for other places, or another number of them, or no row.
    """
    xp = array_namespace(measured)
    if measured.ndim != 2 or t.shape != measured.shape[:1] or measured.shape[1] == 0:
        raise ValueError(f"measured must be (T, N) for T places and N >= 1 rows, got {measured.shape} and {t.shape}")
    if float(t[0]) != 0 or float(t[-1]) != 1:
        raise ValueError(f"the places must begin with 0 and end with 1, got {float(t[0])} ... {float(t[-1])}")
    place = xp.reshape(t, (-1, 1))
    rises = measured - (1 - place) * measured[:1, :] - place * measured[-1:, :]
    means = xp.mean(rises, axis=1)
    at = int(xp.argmax(means))
    value, n_rows = float(means[at]), int(measured.shape[1])
    if n_rows < 2:
        return Barrier(t=float(t[at]), value=value, low=math.nan, high=math.nan)
    error = math.sqrt(float(xp.sum((rises[at, :] - value) ** 2)) / (n_rows - 1) / n_rows)
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * error
    return Barrier(t=float(t[at]), value=value, low=value - reach, high=value + reach)
