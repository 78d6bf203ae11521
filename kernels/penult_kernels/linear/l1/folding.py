"""Heads of scaled columns on raw rows, and gradients of raw rows for scaled columns.

Shapes: E = D + 1 entries, the last of them the bias.
"""

import numpy as np
from numpy.typing import NDArray

from penult_kernels.linear.blocks.scaling import Scaling

Floats = NDArray[np.float64]


def folded(scaling: Scaling, head: Floats) -> tuple[Floats, float]:
    """The weights (D,) and the bias of a head (E,) on raw features."""
    weight = head[:-1] / scaling.scale
    return weight, float(head[-1] - weight @ scaling.mean)


def unfolded(scaling: Scaling, raw: Floats, total: float) -> Floats:
    """The gradient (E,) in scaled columns, from that in raw ones (D,) and the sum of the residuals."""
    return np.append((raw - total * scaling.mean) / scaling.scale, total)
