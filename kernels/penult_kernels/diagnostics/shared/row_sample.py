"""At most 1,000 rows of each part, drawn by the seed, kept on the host for what looks at pairs."""

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import asarray_like, to_host
from penult_kernels.diagnostics.shared.context import Block, Context

Integers = NDArray[np.int64]
MOST = 1000
MOST_ROWS = 50_000
"""Rows of all parts together."""


class RowSample:
    """Rows of each part in their order, all of a small one."""

    def __init__(self, context: Context) -> None:
        self._subject = context.subject
        most = max(2, min(MOST, MOST_ROWS // max(1, context.subject.n_parts)))
        self._chosen = [
            rows
            if rows.size <= most
            else np.sort(np.random.default_rng([context.draws.seed, 3, part]).choice(rows, most, replace=False))
            for part, rows in enumerate(context.subject.members)
        ]
        self._positions = np.sort(np.concatenate(self._chosen)) if self._chosen else np.zeros(0, np.int64)
        self._rows: NDArray[np.float64] = np.empty((self._positions.size, context.subject.rows.shape[1]))

    def add(self, block: Block) -> None:
        """Take in some rows."""
        first, end = np.searchsorted(self._positions, [block.rows.start, block.rows.stop])
        wanted = self._positions[first:end] - block.rows.start
        if wanted.size:
            chosen = array_namespace(block.z).take(block.z, asarray_like(wanted, block.z), axis=0)
            self._rows[first:end] = to_host(chosen)

    def positions(self, part: int) -> Integers:
        """Positions of the rows of a part, ascending."""
        return self._chosen[part]

    def rows(self, part: int) -> NDArray[np.float64]:
        """(n, D) rows of a part."""
        return self._rows[np.searchsorted(self._positions, self._chosen[part])]

    @property
    def all_rows(self) -> tuple[Integers, NDArray[np.float64]]:
        """(n,) positions and (n, D) rows of all parts, in their order."""
        return self._positions, self._rows

    def note(self, part: int) -> str:
        """How many rows were drawn, of a part that has more."""
        n, drawn = int(self._subject.counts[part]), self._chosen[part].size
        return f"of {drawn} of {n} rows, drawn" if drawn < n else ""
