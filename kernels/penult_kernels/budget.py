"""How much memory each step of the kernels may take, and how many rows it takes at a time: one record of all of it.

The numbers differ where measurements differ: larger blocks leave the cache, smaller ones pay for more calls. None of
them changes an answer by more than rounding.
"""

from dataclasses import dataclass, replace
from typing import Any

from array_api_compat import is_numpy_array

MOST_TIMES = 8
"""A tile of rows of few columns has at most so many times the rows of another."""
NUMBERS_OF_HEAD = 8
"""Numbers of float32 that a head has for each row of a tile, about, in arrays of float64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits in bytes or rows on the memory that is used in addition to the features and the heads."""

    rows_per_tile: int = 2048
    """Rows that a solver converts to float64 at a time, in passes that it repeats (32 MiB at D = 2048)."""
    tile_numbers: int = 2**20
    """Numbers of a tile of rows with few columns: calls for each tile take longer than products with few columns."""
    rows_per_single_pass: int = 4096
    """Rows converted to float64 at a time in a computation of a single pass: logits of heads, centering of groups."""
    product_rows_bytes: int = 64 * 2**20
    """Bytes of rows that are converted to float64 at a time for a product of all features with each other."""
    batch_bytes: int = 64 * 2**20
    """Bytes of the arrays of one batch of blocks that are solved together."""
    batch_rows_bytes: int = 32 * 2**20
    """Bytes of standardised rows that a batch keeps; above that, every pass converts them again, a tile at a time."""
    scaled_rows_bytes: int = 64 * 2**20
    """Bytes of standardised rows that are kept for many steps over them; above that, every step makes them again."""
    columns_bytes: int = 64 * 2**20
    """Bytes of the float64 columns that problems with an l1 have in common; above that, columns stay as stored."""
    stored_columns_bytes: int = 256 * 2**20
    """Bytes of columns in the type of the features that problems with an l1 keep, above `columns_bytes`."""
    own_rows_bytes: int = 256 * 2**20
    """Bytes of the copies of rows that draws with an l1 have at a time, each of its own."""
    own_columns_bytes: int = 256 * 2**20
    """Bytes of the copies of columns that the problems of one group with an l1 make, each for itself."""
    minibatches_bytes: int = 64 * 2**20
    """Bytes of the minibatches, over all streams, that are multiplied at a time."""
    replicates_bytes: int = 2**28
    """Bytes of the Krylov vectors and weights of one batch of replicates."""
    projections_bytes: int = 2**27
    """Bytes of the projections (replicates x rows) that exist at a time."""
    buffer_rows: int = 1536
    """Rows folded into moments together: enough that the product, not its addition to the sum, takes the time."""
    buffers_bytes: int = 64 * 2**20
    """Bytes of the rows that wait in the buffers of all groups; with many groups a buffer is below `buffer_rows`."""
    portions_bytes: int = 2**29
    """Bytes of the centered rows and products that threads make at a time for moments; of two portions at least."""
    range_rows_per_group: int = 1024
    """Rows of each group, on average, in a range of a stored set at least, where moments are merged by range."""
    centered_bytes: int = 2**19
    """Bytes of the float64 rows that NumPy centers at a time: few enough to stay in the cache."""
    neighbours_bytes: int = 256 * 2**20
    """Bytes of the points, in float32, that a search for neighbours holds; those of a larger set are made again."""
    chunk_bytes: int = 32 * 2**20
    """Bytes of features in one chunk of a store, about: read, verified and copied to a device at a time."""
    moments_bytes: int = 2**30
    """Bytes of the moments of all groups that are stored with the features; above that, spectra read the rows."""

    def rows_of_tile(self, n_features: int, n_heads: int = 0) -> int:
        """`rows_per_tile`, or more rows where their columns and the heads are few: up to eight times as many."""
        width = max(1, n_features + NUMBERS_OF_HEAD * n_heads)
        return max(self.rows_per_tile, min(MOST_TIMES * self.rows_per_tile, self.tile_numbers // width))

    def rows_of_pass(self, n_features: int) -> int:
        """Rows that a computation of a single pass converts at a time: fewer of wide ones, at least one."""
        return max(1, min(self.rows_per_single_pass, self.product_rows_bytes // 8 // max(1, n_features)))


SMALLEST_DEVICE = 8 * 2**30
"""Memory of a device below which steps are those of the host."""
MOST_TIMES_LARGER = 16
"""Steps on a device are at most so many times those on the host."""


def on_device(total_bytes: int) -> Budget:
    """The budget for a device with so much memory: steps are larger, because each costs as many launches whatever its
    size. What replicates and minibatches may take stays, as they fill a device."""
    times = max(1, min(MOST_TIMES_LARGER, total_bytes // SMALLEST_DEVICE))
    of_host = Budget()
    grows = (
        "rows_per_tile",
        "rows_per_single_pass",
        "product_rows_bytes",
        "batch_bytes",
        "batch_rows_bytes",
        "scaled_rows_bytes",
        "buffer_rows",
        "buffers_bytes",
    )
    return replace(of_host, **{name: times * getattr(of_host, name) for name in grows})


DEFAULT = Budget()
"""The budget that is in force."""
DEVICE: Budget | None = None
"""The budget for arrays of a device; None where it is the same."""


def of(like: Any) -> Budget:
    """The budget for arrays where `like` is."""
    return DEFAULT if DEVICE is None or is_numpy_array(like) else DEVICE
