"""What diagnostics compute from: the subject, the draws, and what the passes over its rows accumulated."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, blocks
from penult_kernels.diagnostics.shared.draws import Draws
from penult_kernels.diagnostics.subject import Subject

A = TypeVar("A")
DEFAULTS: Mapping[str, float] = {
    "bias_error": 0.5,
    "cka_batch": 128,
    "mle_k": 20,
    "power_law_first": 11,
    "power_law_last": 50,
    "probe_l2": 0.01,
    "sharpness_rows": 1000,
}
"""Numbers of a request, where it has none of its own."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Some of the rows in their order."""

    rows: slice
    z: Array
    """(n, D) float64."""
    other: Array | None
    """(n, D') float64."""


class Accumulates(Protocol):
    """What a pass over the rows fills."""

    def add(self, block: Block) -> None:
        """Take in some rows."""
        ...


@dataclass(kw_only=True, eq=False)
class Context:
    """One request."""

    subject: Subject
    draws: Draws
    numbers: Mapping[str, float] = field(default_factory=dict[str, float])
    check: Callable[[], None] = lambda: None
    """Called between steps; raises when nobody waits for the answer any more."""
    report: Callable[[float, float], None] = lambda done, whole: None
    block_rows: int = 0
    """Rows of a block; 0 for as many as memory allows."""
    _accumulated: dict[type[Any], Any] = field(default_factory=dict[type[Any], Any])

    def number(self, name: str) -> float:
        """A number of the request, or its default."""
        return self.numbers.get(name, DEFAULTS[name])

    def get(self, kind: type[A]) -> A:
        """What a pass has accumulated."""
        return self._accumulated[kind]

    def accumulate(self, kinds: list[type[Any]]) -> None:
        """One pass over the rows, for everything that is named and not there yet."""
        new = [kind for kind in dict.fromkeys(kinds) if kind not in self._accumulated]
        made = {kind: kind(self) for kind in new}
        needs_other = any(getattr(kind, "reads_other", False) for kind in new)
        if made:
            for block in self.blocks(with_other=needs_other):
                for one in made.values():
                    one.add(block)
        self._accumulated |= made

    def blocks(self, *, with_other: bool = False) -> Iterator[Block]:
        """All rows in blocks, float64."""
        rows, other = self.subject.rows, self.subject.other if with_other else None
        n, d = rows.shape
        xp = array_namespace(rows.like)
        most = max(d, other.shape[1] if other is not None else 0)
        step = self.block_rows or budget.of(rows.like).rows_of_pass(most)
        for one in blocks(n, step):
            self.check()
            yield Block(
                rows=one,
                z=xp.astype(rows.block(one), xp.float64),
                other=None if other is None else xp.astype(other.block(one), xp.float64),
            )
            self.report(one.stop, n)

    def gather(self, rows: NDArray[np.int64], *, other: bool = False) -> Array:
        """(n, D) float64, some rows of a set in memory."""
        source = self.subject.other if other else self.subject.rows
        assert source is not None
        xp = array_namespace(source.like)
        return xp.astype(source.gather(asarray_like(rows, source.like)), xp.float64)
