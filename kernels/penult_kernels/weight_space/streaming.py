"""The order in which a rule sees the pieces of tensors: its passes over each span, then once more to merge."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from penult_kernels.arrays import Array
from penult_kernels.weight_space.piece import Piece, Rule


def merged_pieces(
    rule: Rule, tensors: Sequence[str], pieces: Callable[[str], Iterable[Piece]]
) -> Iterator[tuple[Piece, Array]]:
    """Every piece of every tensor, in order, with its merged entries (n,) in float64.

    Parameters
    ----------
    rule : whose passes are run first, over each tensor or over all, as its `span` says.
    tensors : names, in the order in which they are merged.
    pieces : the pieces of a tensor from its first entry to its last; called anew for every pass.
    """
    for names in _spans(rule, tensors):
        rule.begin()
        for number in range(rule.n_passes):
            for name in names:
                for piece in pieces(name):
                    rule.gather(piece, number)
            rule.end(number)
        for name in names:
            for piece in pieces(name):
                yield piece, rule.merge(piece)


def _spans(rule: Rule, tensors: Sequence[str]) -> Iterator[Sequence[str]]:
    if rule.span == "all":
        yield tensors
    else:
        yield from ([name] for name in tensors)
