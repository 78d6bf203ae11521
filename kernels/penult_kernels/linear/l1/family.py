"""The draws of one problem with an l1 that share a curvature: their Hessian, and when it is made anew.

Shapes: E = D + 1 entries.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import blocks as tiles
from penult_kernels.linear.blocks.blocks import Block
from penult_kernels.linear.l1.draw_state import DrawState
from penult_kernels.linear.l1.dual import entry_penalties
from penult_kernels.linear.l1.pivoted import Corrections
from penult_kernels.linear.l1.shared_model import SharedModel
from penult_kernels.loss import probabilities
from penult_kernels.products import gram

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]

CURVATURE_TALL = 256
"""Rows for each entry that a shared Hessian is made of at most."""
RELATIVE_RIDGE = 1e-6
"""Ridge as a fraction of the mean diagonal of the shared Hessian, whose products are float32."""
LOOKED_AT = 3
"""Steps from whose gaps the number of further ones is foretold."""
STEPS_OF_NEW = 6
"""Steps that a new Hessian takes to the end, about."""


class Family:
    """Blocks that differ in their rows and weights alone, and the model of their curvature at a head."""

    def __init__(self, features: NDArray[np.floating], members: Sequence[Block], head: Floats) -> None:
        self._features, self._members, self.head = features, members, head
        self._rows, self._weight = _sampled(members, features.shape[0], CURVATURE_TALL * head.size)
        self._make(head)

    def step(self, going: Sequence[DrawState], limit: float, n_waiting: int = 0) -> None:
        """Teach the models what the last evaluations have shown, and go on to their minima; at first make the Hessian
        anew where that takes less work than the steps that it saves, also to so many draws that begin later."""
        self._n_steps += 1
        if self._n_steps > LOOKED_AT and self._is_slow(going, limit, n_waiting):
            self._make(np.mean([state.best.u for state in going], axis=0))
            for state in going:
                state.corrections, state.lesson = Corrections(state.trial.size), None
        self.model.learn([state.lesson for state in going if state.lesson is not None])
        asked = [(state, own) for state in going if (own := state.asked()) is not None]
        heads = iter(self.model.minimize([own for _, own in asked]) if asked else [])
        moving = {id(state) for state, _ in asked}
        for state in going:
            # Where no entry may move, zero is the optimum, which float64 is still to certify.
            state.step(next(heads) if id(state) in moving else state.best.u.copy())

    def _make(self, head: Floats) -> None:
        first = self._members[0]
        penalty = entry_penalties(first, head.size)
        hessian = _hessian(self._features, first, self._rows, self._weight, head)
        self.model, self._n_steps = SharedModel(hessian, penalty.l1, penalty.l2, head), 0

    def _is_slow(self, going: Sequence[DrawState], limit: float, n_waiting: int) -> bool:
        """Whether the steps to come at the present rate are more work than those of a new Hessian and it."""
        n_left: list[float] = []
        for state in going:
            if len(state.gaps) > LOOKED_AT and state.gap > limit:
                gain = math.log(max(state.gaps[-1 - LOOKED_AT], state.gap) / state.gap) / LOOKED_AT
                n_left.append(math.log(state.gap / limit) / max(gain, 1e-3))
        if not n_left:
            return False
        n_entries, n_rows = going[0].trial.size, self._rows.size
        of_step = 4 * max(1, len(going) + n_waiting) * self._n_read * n_entries
        return float(np.median(n_left)) > STEPS_OF_NEW + n_rows * n_entries**2 / of_step

    @property
    def _n_read(self) -> int:
        """Rows that an evaluation reads, about."""
        return max(self._rows.size, max(block.n_used for block in self._members))


def _hessian(features: NDArray[np.floating], first: Block, rows: Positions, weight: Floats, head: Floats) -> Floats:
    """(E, E) Hessian of the losses of weighted rows at a head, by float32 products; scaled as the first block is."""
    n_entries = head.size
    offset = np.zeros(rows.size) if first.full_offset is None else first.full_offset[rows, 0]
    mean, inverse = first.scaling.mean.astype(np.float32), (1 / first.scaling.scale).astype(np.float32)
    total = np.zeros((n_entries, n_entries))
    for tile in tiles(rows.size, n_entries):
        z = np.ones((rows[tile].size, n_entries), np.float32)
        np.multiply(np.take(features, rows[tile], axis=0) - mean, inverse, out=z[:, :-1], casting="same_kind")
        p = probabilities((z @ head.astype(np.float32) + offset[tile])[None, :, None])[0, :, 0]
        z *= np.sqrt(weight[tile] * p * (1.0 - p)).astype(np.float32)[:, None]
        total += gram(z.T)
    total.flat[:: n_entries + 1] += RELATIVE_RIDGE * np.trace(total) / n_entries
    return total


def _sampled(family: Sequence[Block], n_rows: int, size: int) -> tuple[Positions, Floats]:
    """Rows and their mean weights in a family; of more than `size` rows, as many, drawn as often as they weigh."""
    mass = np.zeros(n_rows)
    for block in family:
        mass[slice(None) if block.rows is None else block.rows] += block.sample_weight() / len(family)
    rows = np.flatnonzero(mass)
    if rows.size <= size:
        return rows, mass[rows]
    wanted = (np.arange(size) + 0.5) / size
    at, times = np.unique(np.searchsorted(np.cumsum(mass[rows]), wanted), return_counts=True)
    return rows[np.minimum(at, rows.size - 1)], times / size
