"""Names as they are shown: of one line, of bearable length, and splits in the order that people expect."""

import re
from collections.abc import Iterable

USUAL = ("train", "val", "test")
"""Splits that stand before all others."""
LONGEST = 80
"""Characters of a name in a line of text."""
UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Marks that would change the direction of the text after a name."""


def in_usual_order(names: Iterable[str]) -> list[str]:
    """train, val, test, then the others by name."""
    return sorted(names, key=lambda name: (USUAL.index(name) if name in USUAL else len(USUAL), name))


def one_line(name: str, longest: int = LONGEST) -> str:
    """A name of at most `longest` characters and one line; what is too long is cut in the middle.

    The end stays, since names of groups often differ there only. Characters that cannot be shown become a
    question mark in a box, white space a space.
    """
    if len(name) <= longest and name.isascii() and name.isprintable() and name.strip() == name and "  " not in name:
        return name  # nearly all of them
    kept = name if len(name) <= 4 * longest else name[: 2 * longest] + name[-2 * longest :]
    line = UNSEEN.sub("\ufffd", DIRECTIONS.sub("", " ".join(kept.split())))
    if len(line) <= longest and kept is name:
        return line
    tail = max(1, longest // 3)
    return f"{line[: longest - tail - 1].rstrip()}…{line[-tail:].lstrip()}"


def and_more(shown: list[str], n_left: int) -> str:
    """The parts with a comma between, and how many there are besides."""
    return ", ".join([*shown, f"and {n_left} more"] if n_left else shown)
