"""HDF5, read by h5py where it is installed: the datasets of a file, also those in groups ("train/features")."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingImports=false, reportUnknownLambdaType=false
# h5py is untyped, and not always there.

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from penult.errors import install
from penult.files.rows import AnyArray, Rows, rows_at_once
from penult.files.source import Source


@contextmanager
def opened(place: Path) -> Generator[Source]:
    """The datasets that hold numbers, bools or text, read in slices."""
    try:
        import h5py
    except ImportError:
        raise ImportError(f"HDF5 files need h5py, which is not installed: {install('files')}") from None
    with h5py.File(place, "r") as file:
        found: dict[str, Rows] = {}

        def visit(name: str, node: Any) -> None:
            # Links out of the file are not followed by visititems.
            rows = _dataset(h5py, node) if isinstance(node, h5py.Dataset) and not node.is_virtual else None
            if rows is not None and not node.external:
                found[name] = rows

        file.visititems(visit)
        yield Source(place=place, arrays=found)


def _dataset(h5py: Any, dataset: Any) -> Rows | None:
    if dataset.shape in (None, ()):
        return None
    is_text = h5py.check_string_dtype(dataset.dtype) is not None
    if not is_text and (dataset.dtype.kind not in "biuf" or dataset.dtype.hasobject):
        return None
    dtype = np.dtype(np.str_) if is_text else dataset.dtype
    readable = dataset.asstr() if is_text else dataset
    step = rows_at_once(tuple(dataset.shape), dataset.dtype)

    def blocks() -> Iterator[AnyArray]:
        for at in range(0, dataset.shape[0], step):
            block = readable[at : at + step]
            yield np.array(block.tolist(), np.str_) if is_text else block

    return Rows(dtype, tuple(dataset.shape), blocks)
