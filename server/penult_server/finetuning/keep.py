"""Which of the checkpoints that a run stores it keeps.

A run stores its start, then a checkpoint at every step of its plan, the last step among them. After each the policy
says which of those so far are still needed; the others go, so that the store never holds more than one beside them.

all : every one.
last : the newest; at the end that of the last step.
best : that with the highest worst-group accuracy on the split "val", the earlier of equal ones. Only checkpoints of
    steps that are measured are stored, besides the start, which is not measured and goes with the first that is.
k : the start, every k-th after it, and the newest.
"""

from collections.abc import Iterable, Sequence
from math import nan

from penult_server.finetuning.checks import invalid
from penult_server.progress import MetricsRecord

ALL, LAST, BEST = "all", "last", "best"
RANKED_ON = "val"
"""Split by which the best checkpoint is chosen."""
MOST = 10**9

Stored = tuple[int, str]
"""The step of a checkpoint, and its digest."""


def check_keep(keep: str) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) for what is no policy."""
    if keep not in (ALL, LAST, BEST) and not (keep.isascii() and keep.isdecimal() and 1 <= int(keep) <= MOST):
        raise invalid("keep", f"one of {ALL}, {LAST}, {BEST}, or a number from 1 to {MOST}", keep)


def check_ranked(keep: str, evaluated: Iterable[str]) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) where the best is asked for and the split that says so is not evaluated."""
    if keep == BEST and RANKED_ON not in (splits := list(evaluated)):
        raise invalid(
            "keep",
            f"another than 'best', which is chosen by the worst-group accuracy on the split {RANKED_ON!r}, where that "
            f"split is not evaluated (evaluated are {', '.join(splits)})",
            keep,
        )


def needed(
    keep: str, checkpoints: Sequence[Stored], history: Iterable[MetricsRecord], *, n_stored: int
) -> list[Stored]:
    """What a run still needs of its checkpoints, right after the newest was stored.

    Parameters
    ----------
    checkpoints : those that it needed before, and the newest, by their step.
    history : metrics so far.
    n_stored : checkpoints stored so far, those that have gone among them.
    """
    match keep:
        case "all":
            return list(checkpoints)
        case "last":
            return list(checkpoints[-1:])
        case "best":
            scores = {one.step: one.metrics.worst_group_accuracy for one in history if one.split == RANKED_ON}
            # The first of equal ones. What has no score, or a worst group that is empty, comes after all others.
            return [max(checkpoints, key=lambda one: _comparable(scores.get(one[0], nan)))]
        case _:
            # All older ones were looked at when they were the last but one.
            is_kept = n_stored < 2 or (n_stored - 2) % int(keep) == 0
            return [*checkpoints[:-2], *(checkpoints[-2:] if is_kept else checkpoints[-1:])]


def _comparable(score: float) -> float:
    return score if score == score else -1.0
