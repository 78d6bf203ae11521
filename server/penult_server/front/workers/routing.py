"""Which of several compute workers answers a question.

Every checkpoint has a home, so that its sets meet in one worker's memory, where refits that wait are solved together.
Homes are chosen by rendezvous hashing: the home of a key is the worker with the largest hash of both. So they are the
same after every restart, without a table, and one worker more takes its share of the keys and moves no other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

MOST_WAITING = 8
"""Questions that may wait in a worker before one whose sets are not there goes to its second choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a worker stands towards a question."""

    is_up: bool = True
    n_waiting: int = 0
    """Questions in progress there, but for the one that has the device."""
    n_held: int = 0
    """How many of the question's sets are there, or asked about by a question in progress there."""


def ranked(key: str, n: int) -> list[int]:
    """All of `n` workers, best first, for a key."""
    hashes = [blake2b(f"{number} {key}".encode(), digest_size=8).digest() for number in range(n)]
    return sorted(range(n), key=hashes.__getitem__, reverse=True)


def choose(keys: Sequence[str], workers: Sequence[Standing]) -> int:
    """The worker for a question about sets of these keys, the most important first.

    It is the home of one of them, that with the most of the sets. Where that one has none, and too many wait there, the
    second choice is taken, if fewer wait in that. Workers that are down count only where all of them are.
    """
    up = [number for number, one in enumerate(workers) if one.is_up] or range(len(workers))
    orders = [[number for number in ranked(key, len(workers)) if number in up] for key in dict.fromkeys(keys)]
    order = max(orders, key=lambda order: workers[order[0]].n_held)
    first = workers[order[0]]
    if first.n_held or first.n_waiting <= MOST_WAITING:
        return order[0]
    return min(order[:2], key=lambda number: workers[number].n_waiting)


def least_used(workers: Sequence[Standing], n_transfers: Sequence[int]) -> int:
    """The worker for what any of them can do: of those that are up the one with the least to do."""
    return min(
        range(len(workers)),
        key=lambda number: (not workers[number].is_up, n_transfers[number] + workers[number].n_waiting),
    )
