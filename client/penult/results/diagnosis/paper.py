"""Values of diagnostics as a table that a paper can take: parts in rows, ids in columns."""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from penult.display.names import one_line
from penult.results.diagnosis.definitions import DiagnosticDefinition

ESCAPED = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


class Number(Protocol):
    """A value of a diagnostic."""

    @property
    def id(self) -> str: ...
    @property
    def part(self) -> str: ...
    @property
    def n(self) -> int: ...
    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


def cells(numbers: Sequence[Number]) -> tuple[list[str], list[list[str]], list[list[tuple[str, str]]]]:
    """Ids, the name and n of each part that has a value, and value and interval of each; empty where there is none."""
    known = [one for one in numbers if math.isfinite(one.value)]
    by_place = {(one.id, one.part): one for one in known}
    ids, parts = (list(dict.fromkeys(each)) for each in ([one.id for one in known], [one.part for one in known]))
    names = [[one_line(part), f"{next(one.n for one in known if one.part == part):,}"] for part in parts]
    found = [[by_place.get((id, part)) for id in ids] for part in parts]
    values = [
        [("", "") if one is None else (f"{one.value:.3g}", _interval(one.low, one.high)) for one in row]
        for row in found
    ]
    return ids, names, values


def latex(definitions: Mapping[str, DiagnosticDefinition], numbers: Sequence[Number]) -> str:
    """A tabular of the package booktabs, intervals as sub- and superscripts, formulas in comments above it."""
    ids, names, values = cells(numbers)
    head = ["", "$n$", *(escaped(id) for id in ids)]
    lines = [f"% {id}: {one_line(definitions[id].formula, 400)}" for id in ids]
    lines += [rf"\begin{{tabular}}{{lr{'r' * len(ids)}}}", r"\toprule", " & ".join(head) + r" \\", r"\midrule"]
    for name, row in zip(names, values, strict=True):
        shown = [f"${value}{_scripts(interval)}$" if value else "" for value, interval in row]
        lines.append(" & ".join([escaped(name[0]), name[1].replace(",", "{,}"), *shown]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def markdown(numbers: Sequence[Number]) -> str:
    """A table with pipes; intervals in brackets."""
    ids, names, values = cells(numbers)
    rows = [
        [*name, *(f"{value} [{interval}]" if interval else value for value, interval in row)]
        for name, row in zip(names, values, strict=True)
    ]
    lines = [["", "n", *ids], ["---", *["---:"] * (1 + len(ids))], *rows]
    return "\n".join(_line([cell.replace("|", r"\|") for cell in row]) for row in lines)


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(ESCAPED.get(one, one) for one in text)


def _line(row: Sequence[str]) -> str:
    return f"| {' | '.join(row)} |"


def _interval(low: float, high: float) -> str:
    return f"{low:.3g}, {high:.3g}" if math.isfinite(low) and math.isfinite(high) else ""


def _scripts(interval: str) -> str:
    if not interval:
        return ""
    low, high = interval.split(", ")
    return f"_{{{low}}}^{{{high}}}"
