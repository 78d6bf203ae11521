"""One triangle of a symmetric matrix, packed in strips that are written and read whole.

The matrix is cut into strips of `tile` rows; of each strip only the columns from its first row's diagonal on are
kept, row by row, and the strips follow each other. With tile 1 that is the upper triangle in row-major
order, D (D + 1) / 2 numbers; a wider strip keeps at most D * (tile - 1) / 2 more and moves in few, long copies.
"""

from array_api_compat import array_namespace

from penult_kernels.arrays import Array, blocks

TILE = 64
"""Width of a strip: 5 % more than the bare triangle at D = 1280."""


def packed_length(n_features: int, tile: int = TILE) -> int:
    """Numbers kept of a (D, D) matrix."""
    return sum((rows.stop - rows.start) * (n_features - rows.start) for rows in blocks(n_features, tile))


def pack_symmetric(matrices: Array, tile: int = TILE) -> Array:
    """The packed upper triangles, (..., L), of symmetric matrices (..., D, D)."""
    xp = array_namespace(matrices)
    n_features = int(matrices.shape[-1])
    leading = matrices.shape[:-2]
    strips = [
        xp.reshape(matrices[..., rows, rows.start :], (*leading, (rows.stop - rows.start) * (n_features - rows.start)))
        for rows in blocks(n_features, tile)
    ]
    return xp.concat(strips, axis=-1)


def unpack_symmetric(packed: Array, n_features: int, tile: int = TILE) -> Array:
    """The whole symmetric matrices, (..., D, D), of packed triangles (..., L).

    Raises
    ------
    ValueError
        When L is not the packed length of D features at this tile.
    """
    xp = array_namespace(packed)
    leading = packed.shape[:-1]
    if packed.shape[-1] != packed_length(n_features, tile):
        raise ValueError(
            f"the triangle of {n_features} features in strips of {tile} has {packed_length(n_features, tile)} numbers, "
            f"got {packed.shape[-1]}"
        )
    if tile >= n_features:
        return xp.reshape(packed, (*leading, n_features, n_features))
    whole = xp.empty((*leading, n_features, n_features), dtype=packed.dtype, device=packed.device)
    offset = 0
    for rows in blocks(n_features, tile):
        height, width = rows.stop - rows.start, n_features - rows.start
        strip = xp.reshape(packed[..., offset : offset + height * width], (*leading, height, width))
        whole[..., rows, rows.start :] = strip
        whole[..., rows.stop :, rows] = xp.matrix_transpose(strip[..., height:])
        offset += height * width
    return whole
