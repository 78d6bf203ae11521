"""What a method that finds groups is given, and what it answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_server.compute.backend import Backend
from penult_server.compute.reporting import SILENT, Reporter
from penult_server.notes import Note
from penult_server.records import LabelNames

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows of one feature set that a method looks at."""

    features: Any
    """(N, D) on the device, in the stored dtype; None where neither the method nor the rule looks at them."""
    y: Integers
    """(N,) on the host, as is all that follows."""
    a: Integers
    """(N,) the stored attribute."""
    row_id: NDArray[np.uint64]
    logits: Floats | None
    """(N, C) of the head that was given, or those stored; None without."""
    labels: LabelNames
    attributes: Mapping[str, tuple[Integers, tuple[str, ...]]] = field(default_factory=dict)
    """Further attribute columns: the (N,) values and their names, by the name of the column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """Values that a caller gave: those of rows in a group, by ascending row id."""

    row_id: NDArray[np.uint64]
    value: Integers
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """A complete question, with its rows."""

    source: Rows
    """The rows that are grouped."""
    fit: Rows
    """The rows that heads and mixtures are fitted on; the source itself where the question names none."""
    other: Rows | None
    """The comparison set, or the one with an attribute."""
    numbers: Mapping[str, float]
    words: Mapping[str, str]
    indices: tuple[int, ...]
    uploaded: Uploaded | None = None
    seed: int
    backend: Backend
    check: Callable[[], None]
    """Called between steps; raises when nobody waits any more."""
    progress: Reporter = SILENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Values of the rows, and what is kept with them."""

    value: Integers
    """(N,) in -1 .. V-1 for the rows of the source; group g = y * V + value."""
    names: tuple[str, ...]
    """Names of the V values."""
    soft: NDArray[np.float32] | None = None
    """(N, V) how far each row belongs to each value."""
    rule: str = ""
    """Kind of the rule that assigns other rows (a key of the table of rules); empty without one."""
    rule_arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    """What was measured on the way; of a class by "NAME of CLASS"."""
    notes: tuple[Note, ...] = ()
