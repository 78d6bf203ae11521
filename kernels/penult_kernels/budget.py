"""How much memory each step of the kernels may take, and how many rows it takes at a time: one record of all of it.

The numbers differ where measurements differ: larger blocks leave the cache, smaller ones pay for more calls. None of
them changes an answer by more than rounding.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Bytes, or rows, of what is held beside the features and the heads."""

    rows_per_tile: int = 2048
    """Rows that a solver widens to float64 at a time, in passes that are repeated (32 MiB at D = 2048)."""
    rows_per_single_pass: int = 4096
    """Rows widened to float64 at a time where one pass is all there is: logits of given heads, centring of groups."""
    widened_bytes: int = 64 * 2**20
    """Rows widened to float64 at a time for a product of all features with each other."""
    batch_bytes: int = 64 * 2**20
    """Arrays of one batch of blocks that are solved together."""
    batch_rows_bytes: int = 32 * 2**20
    """Rows, standardised, that a batch keeps; more are widened again in every pass, a tile at a time."""
    columns_bytes: int = 64 * 2**20
    """float64 columns of all rows that problems with an l1 share; where they were more, columns stay as stored."""
    stored_columns_bytes: int = 256 * 2**20
    """Columns in the type of the features that problems with an l1 keep where all in float64 would be too many."""
    own_columns_bytes: int = 256 * 2**20
    """Copies of single columns that the problems of one group with an l1 make for themselves."""
    minibatches_bytes: int = 64 * 2**20
    """Rows of the minibatches of all streams that are multiplied at a time."""
    replicates_bytes: int = 2**28
    """Krylov vectors and weights of the replicates of one batch."""
    projections_bytes: int = 2**27
    """Projections (replicates x rows) of 8 bytes that exist at a time."""
    buffer_rows: int = 1536
    """Rows folded into moments together: enough that the product, not its addition to the sum, takes the time."""
    buffers_bytes: int = 64 * 2**20
    """Rows that wait in the buffers of all groups; with many groups each buffer is shorter than `buffer_rows`."""
    centred_bytes: int = 2**19
    """float64 rows that NumPy centres at a time, so that they are still in the cache."""
    chunk_bytes: int = 32 * 2**20
    """Features in one chunk of a store, about: what is read, verified and copied to a device at a time."""
    moments_bytes: int = 2**30
    """Moments of all groups that are stored beside the features; where they were more, spectra read the rows."""


DEFAULT = Budget()
"""The budget that is in force."""
