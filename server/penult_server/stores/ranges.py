"""The ranges of a feature set: whole chunks that are written, and whose moments are summed, as one.

They depend on the set alone, never on who works on them or how fast: moments are merged in their order, so that one
process and many give the same bits.
"""

from dataclasses import dataclass

from penult_kernels import budget

MOST_RANGES = 64
"""The largest number of ranges of one set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Consecutive whole chunks of a set; the last chunk of a set may be shorter than the others."""

    index: int
    first_chunk: int
    n_chunks: int
    first: int
    """Number of the first row."""
    stop: int
    """Number of the row after the last."""

    @property
    def chunks(self) -> range:
        """Numbers of its chunks."""
        return range(self.first_chunk, self.first_chunk + self.n_chunks)


def ranges_of(n_rows: int, chunk_rows: int, n_groups: int = 0) -> tuple[Range, ...]:
    """The ranges of a set of `n_rows` in chunks of `chunk_rows`; one without a chunk for one without rows.

    `n_groups` is of the moments that are summed, 0 where there are none. With many groups a range is longer: merging
    moments takes time by the group, summing them by the row.
    """
    n_chunks = -(-n_rows // chunk_rows)
    least_rows = n_groups * budget.DEFAULT.range_rows_per_group
    each = max(1, -(-n_chunks // MOST_RANGES), -(-least_rows // chunk_rows))
    starts = range(0, n_chunks, each) if n_chunks else range(1)
    return tuple(
        Range(
            index=index,
            first_chunk=start,
            n_chunks=min(each, n_chunks - start),
            first=start * chunk_rows,
            stop=min((start + each) * chunk_rows, n_rows),
        )
        for index, start in enumerate(starts)
    )
