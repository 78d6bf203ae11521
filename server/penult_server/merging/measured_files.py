"""Files of what was measured of networks, read a part at a time."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_server.stores.writing.weights import header_of, offset_of

AnyArray = NDArray[Any]


class MeasuredFile:
    """Tensors of a file, read where they are asked for: none is held."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tensors, self._first = header_of(path).tensors, offset_of(path)

    def part(self, name: str, start: int, stop: int) -> AnyArray:
        """(stop - start,) entries of a flat tensor; zeros for one that is not there."""
        if name not in self._tensors:
            return np.zeros(stop - start, dtype=np.float32)
        tensor = self._tensors[name]
        kind = np.dtype(tensor.numpy_type)
        offset = self._first + tensor.start + start * kind.itemsize
        return np.fromfile(self._path, dtype=kind, count=stop - start, offset=offset)

    def whole(self, name: str) -> AnyArray | None:
        """A tensor in its shape; None for one that is not there."""
        if name not in self._tensors:
            return None
        shape = self._tensors[name].shape
        return self.part(name, 0, int(np.prod(shape))).reshape(shape)
