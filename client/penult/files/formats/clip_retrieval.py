"""The directory that clip-retrieval writes: img_emb/img_emb_0.npy, text_emb/..., metadata/metadata_0.parquet, ...

The parts are taken by their number, so that 10 follows 9; the rows of each pair must be as many.
"""

import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from penult.files.formats import npy, parquet
from penult.files.rows import AnyArray, Rows
from penult.files.source import Source, refused

_NUMBER = re.compile(r"_([0-9]+)\.[a-z]+$")


@contextmanager
def opened(place: Path) -> Generator[Source]:
    """The embeddings by the name of their folder, and the columns of the metadata."""
    with ExitStack() as stack:
        arrays: dict[str, Rows] = {}
        lengths: dict[int, int] = {}
        for folder in sorted(place.glob("*_emb")):
            parts = {number: npy.mapped(file, file.stem) for number, file in _numbered(place, folder, ".npy").items()}
            _check_lengths(place, folder.name, {number: part.shape[0] for number, part in parts.items()}, lengths)
            arrays[folder.name] = _joined(place, folder.name, list(parts.values()))
        tables = {
            number: stack.enter_context(parquet.opened(file))
            for number, file in _numbered(place, place / "metadata", ".parquet").items()
        }
        if tables:
            columns = [table.arrays for table in tables.values()]
            n_rows = {number: _n_rows(place, table) for number, table in tables.items()}
            _check_lengths(place, "metadata", n_rows, lengths)
            shared = [name for name in columns[0] if name not in arrays and all(name in one for one in columns)]
            arrays |= {name: _joined(place, name, [one[name] for one in columns]) for name in shared}
        yield Source(
            place=place, arrays=arrays, remarks=(f"{len(lengths)} parts were read in the order of their numbers",)
        )


def _numbered(place: Path, folder: Path, suffix: str) -> dict[int, Path]:
    found: dict[int, Path] = {}
    for file in folder.glob(f"*{suffix}"):
        number = _NUMBER.search(file.name)
        if number is None or int(number[1]) in found:
            raise refused(
                place, f"{folder.name}/{file.name} has no number of its own", f"expected {folder.name}_0{suffix}, ..."
            )
        found[int(number[1])] = file
    return dict(sorted(found.items()))


def _n_rows(place: Path, table: Source) -> int:
    first = next(iter(table.arrays.values()), None)
    if first is None:
        raise refused(place, f"metadata/{table.place.name} has no column of numbers or text", "write it again")
    return first.shape[0]


def _check_lengths(place: Path, what: str, found: dict[int, int], expected: dict[int, int]) -> None:
    """The same parts with the same rows as the first folder has."""
    if not expected:
        expected |= found
    if list(found) != list(expected):
        raise refused(
            place,
            f"{what} has the parts {list(found)[:20]}, the embeddings have {list(expected)[:20]}",
            "copy the missing parts, or remove those without a partner",
        )
    for number, n_rows in found.items():
        if n_rows != expected[number]:
            raise refused(
                place,
                f"part {number} of {what} has {n_rows} rows, its partner {expected[number]}",
                "rows are paired by their position: write both parts again",
            )


def _joined(place: Path, name: str, parts: Sequence[Rows]) -> Rows:
    first = parts[0]
    if any(part.shape[1:] != first.shape[1:] or part.dtype.kind != first.dtype.kind for part in parts):
        raise refused(place, f"the parts of {name} differ in width or type", "write them again, all alike")
    dtype = first.dtype if first.dtype.kind == "U" else np.result_type(*(part.dtype for part in parts))

    def blocks() -> Iterator[AnyArray]:
        for part in parts:
            yield from part.blocks()

    return Rows(dtype, (sum(part.shape[0] for part in parts), *first.shape[1:]), blocks)
