"""Equal contents have equal ids, by which solvers see that problems share rows, weights, targets or scalings."""

import hashlib
from collections.abc import Hashable

import numpy as np

from penult_kernels.arrays import Array, to_host


class ContentIds:
    """Numbers 0, 1, 2, ... given to contents in the order in which they are met."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._read: dict[int, tuple[Array, int]] = {}

    def of(self, array: Array | None) -> int:
        """The id of an array, by its dtype, shape and bytes, or of None; each object is read once.

        Arrays that were read stay referenced, so that no other object takes their address.
        """
        if array is None:
            return self.number(None)
        if id(array) not in self._read:
            host = np.ascontiguousarray(to_host(array))
            digest = hashlib.blake2b(host.tobytes(), digest_size=16).digest()
            self._read[id(array)] = (array, self.number((host.dtype.str, host.shape, digest)))
        return self._read[id(array)][1]

    def number(self, key: Hashable) -> int:
        """The id of any hashable key, such as a tuple of ids."""
        return self._numbers.setdefault(key, len(self._numbers))
