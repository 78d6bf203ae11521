"""Which of many trials a short version does."""

from collections.abc import Sequence


def picked(steps: Sequence[str], n: int) -> list[int]:
    """Places of `n` steps: the last commit and the last rename, which make things visible, then evenly spread ones."""
    kinds = [step.split(" ")[0] for step in steps]
    last = [len(kinds) - 1 - kinds[::-1].index(kind) for kind in ("commit", "rename") if kind in kinds]
    rest = max(n - len(last), 0)
    spread = [(2 * place + 1) * len(steps) // (2 * rest) for place in range(rest)]
    return sorted({*last[:n], *spread})


def spread(n: int, most: int) -> list[int]:
    """At most `most` of the numbers below `n`, evenly spread, the first and the last among them."""
    if n <= most:
        return list(range(n))
    return sorted({round(place * (n - 1) / max(most - 1, 1)) for place in range(most)})
