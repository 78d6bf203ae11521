"""What a diagnostic is: its formula, what it needs, how its interval is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from penult.display.html import Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosticDefinition(Shown):
    """One number that `Client.diagnose`, or another call, can compute."""

    id: str
    """Stable name of the formula."""
    family: str
    """What asks for it together with its kin, such as "nc"."""
    formula: str
    source: str
    """The paper or the convention that it follows."""
    direction: str
    """"higher" or "lower" is better, or "neither"."""
    needs: tuple[str, ...]
    """Besides features: "labels", "head", "logits", "other" (a second set), "neighbours", "memory"."""
    parts: str
    """What there is a value of: "part" (group or class), "all" rows, "pair" of parts, "column" of labels."""
    interval: str
    """How the 95 % interval is found: "bootstrap", "jackknife", "delta method", "pairs of rows", "none"."""
    matched: bool
    """Whether there is a value at matched n."""
    cost: str
    """Multiplications, by n rows, D features, K classes, P parts and R draws."""
    numbers: tuple[str, ...]
    """Keys of ``numbers=`` that it uses."""
    call: str = "diagnose"
    """The call of the client that answers it; empty where none does, and `formula` is why."""


def definition_row(one: DiagnosticDefinition) -> Mapping[str, object]:
    """The columns of a list of definitions."""
    return {
        "id": one.id,
        "family": one.family,
        "formula": one.formula,
        "needs": ", ".join(one.needs),
        "call": one.call,
        "of": one.parts,
        "interval": one.interval,
        "cost": one.cost,
        "better": one.direction,
        "numbers": ", ".join(one.numbers),
        "source": one.source,
    }
