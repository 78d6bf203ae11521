"""What a merging rule sees: consecutive entries of one tensor, of every network; and what a rule is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from array_api_compat import array_namespace

from penult_kernels.arrays import Array

Span: TypeAlias = Literal["tensor", "all"]
"""Over what a rule gathers before it merges: each tensor by itself, or all of them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Piece:
    """Consecutive entries of one tensor, of K networks."""

    name: str
    """Name of the tensor."""
    start: int
    """Place of the first entry in the flat tensor."""
    size: int
    """Entries of the whole tensor."""
    parents: Sequence[Array]
    """K arrays of shape (n,), in the type they are stored in, in the order of `Asked.ids`."""
    base: Array | None = None
    """(n,) the common start, for rules about what was learned since."""
    importance: Sequence[Array] = ()
    """K arrays of shape (n,), not negative: how much each entry of each network matters."""

    def delta(self, index: int) -> Array:
        """(n,) float64: what network `index` is beyond the base, its task vector. Raises ValueError without a base."""
        if self.base is None:
            raise ValueError(f"a piece of {self.name!r} has no base, which this rule subtracts")
        return in_float64(self.parents[index]) - in_float64(self.base)

    def moved(self, step: Array) -> Array:
        """(n,) float64: the base moved by a step. Raises ValueError without a base."""
        if self.base is None:
            raise ValueError(f"a piece of {self.name!r} has no base, which this rule moves")
        return in_float64(self.base) + step


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a rule is asked for."""

    ids: tuple[str, ...]
    """K names of the networks, such as digests: sums run in their order, and draws are seeded by them."""
    shares: tuple[float, ...] = ()
    """K factors; empty for the mean."""
    numbers: Mapping[str, float] = field(default_factory=dict[str, float])
    """The rule's own."""
    seed: int = 0
    grams: Callable[[str, int], Array | None] | None = None
    """From the name of a tensor (out, D) and the index of a network to X^T X (D, D) of the rows X that its layer read;
    None for a tensor of another sort. Asked again at each use: a matrix may be larger than what is held."""


class Rule(Protocol):
    """A merge in progress. `streaming.spans` says in which order its methods are called."""

    @property
    def n_passes(self) -> int:
        """How often `gather` sees all pieces of a span before `merge` does."""
        ...

    @property
    def span(self) -> Span:
        """What a pass is over; without a pass it has no effect."""
        ...

    def begin(self) -> None:
        """A span begins."""
        ...

    def gather(self, piece: Piece, number: int) -> None:
        """One piece in pass `number`, from 0."""
        ...

    def end(self, number: int) -> None:
        """All pieces of the span have been seen in pass `number`."""
        ...

    def merge(self, piece: Piece) -> Array:
        """(n,) float64: the merged entries."""
        ...

    def factors(self) -> dict[str, float]:
        """Numbers that the weights decided, such as a cosine, by their names."""
        ...


class OnePass:
    """A rule that looks at nothing before it merges."""

    n_passes = 0
    span: Span = "tensor"

    def begin(self) -> None: ...

    def gather(self, piece: Piece, number: int) -> None: ...

    def end(self, number: int) -> None: ...

    def factors(self) -> dict[str, float]:
        return {}


def in_float64(values: Array) -> Array:
    """The values in float64, of their library."""
    xp = array_namespace(values)
    return xp.astype(values, xp.float64)


def weighted_sum(piece: Piece, shares: Sequence[float]) -> Array:
    """(n,) float64: sum_i s_i theta_i in the order of the networks; their mean where there are no shares.

    The mean is a sum divided once: of k equal float32 entries it is the entry itself.
    """
    total = in_float64(piece.parents[0])
    if not shares:
        for values in piece.parents[1:]:
            total += values  # float64 and the type it is stored in: no copy of its own
        return total / len(piece.parents)
    total = total * shares[0]
    for share, values in zip(shares[1:], piece.parents[1:], strict=True):
        total += in_float64(values) * share
    return total


def delta_sum(piece: Piece) -> Array:
    """(n,) float64: the sum of the task vectors."""
    total = piece.delta(0)
    for index in range(1, len(piece.parents)):
        total += piece.delta(index)
    return total
