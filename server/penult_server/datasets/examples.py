"""A sequence of examples that are opened when they are indexed."""

from collections.abc import Callable, Sequence
from typing import overload

from penult_server.datasets.model import Example


class LazyExamples(Sequence[Example]):
    """The examples at `rows`, each opened anew by `open_row` whenever it is indexed.

    A slice is again lazy. Can be pickled, and so sent to loader processes, where `open_row` can.
    """

    def __init__(self, open_row: Callable[[int], Example], rows: range) -> None:
        self._open_row = open_row
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> "LazyExamples": ...

    def __getitem__(self, index: int | slice) -> "Example | LazyExamples":
        if isinstance(index, slice):
            return LazyExamples(self._open_row, self._rows[index])
        return self._open_row(self._rows[index])
