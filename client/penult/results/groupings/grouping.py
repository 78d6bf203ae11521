"""A grouping: a value for every row of a feature set that stands in for its attribute, and how it was found.

V values v = 0 .. V-1; group g = y * V + v, as for stored groups; -1 for rows in no group.
"""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from penult.display.html import Shown
from penult.display.names import one_line
from penult.errors import invalid
from penult.results.frames import frame, text_table
from penult.results.notes import Notes, lines
from penult.results.records import Group, named, short

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupingArrays:
    """A value for each of N rows."""

    row_id: NDArray[np.uint64]
    """(N,) in the order of the feature set."""
    values: NDArray[np.int64]
    """(N,) in 0 .. V-1; -1 for a row in no group."""
    soft: NDArray[np.float32] | None
    """(N, V) how far each row belongs to each value; None where that was not stored."""


class Source(Protocol):
    """The server that a grouping came from."""

    def read(self, grouping: Grouping) -> GroupingArrays: ...

    def assign(
        self,
        grouping: Grouping,
        features: Any,
        *,
        split: str | None,
        name: str | None,
        tags: Sequence[str] | None,
        note: str | None,
        timeout: float,
        progress: bool | None,
    ) -> Grouping: ...


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Grouping(Shown):
    """Groups of stored rows, by class and value, wherever the values come from. They stay on the server."""

    digest: str
    method: str
    """Name of the method that found it; ``"attribute"`` for a column of the data, ``"uploaded"`` for values given."""
    attribute: str
    """What the values are called together."""
    classes: tuple[str, ...]
    value_names: tuple[str, ...]
    """(V,) names of the values."""
    groups: tuple[Group, ...]
    """(C * V,) in the order of their index, with the rows of each; those without a row are listed, too."""
    n_rows: int
    n_unassigned: int
    """Rows in no group: left out where groups are asked for."""
    feature_set: str
    """Digest of the set that was grouped. The grouping serves every set of the same examples."""
    dataset: str
    """Empty, like its digest and `split`, for rows that were uploaded."""
    dataset_digest: str
    split: str
    fit: str
    """Digest of the set that heads and mixtures were fitted on; empty for the grouped set itself."""
    other: str
    """Digest of the set that was compared with, or that had an attribute; empty without one."""
    numbers: dict[str, float]
    """Numbers of the method, defaults included."""
    words: dict[str, str]
    seed: int
    has_rule: bool
    """Whether `on` can assign the rows of another set."""
    has_soft: bool
    scores: dict[str, float]
    """What the method measured on the way, by name."""
    assigned_by: str
    """Digest of the grouping by whose rule this one was assigned; empty otherwise."""
    reused: bool = field(compare=False)
    """Whether it was already stored."""
    created: datetime | None
    notes: Notes = ()
    name: str = ""
    """The newest name that it was given; empty without one. A name moves to the newest thing it is given to."""
    tags: tuple[str, ...] = ()
    note: str = ""
    user: str = ""
    """Who asked first, as the client said; empty when not known."""

    def bound(self, source: Source) -> Grouping:
        """The same grouping, which reads its arrays from there."""
        self.__dict__["_source"] = source
        return self

    @property
    def n_groups(self) -> int:
        """G = C * V."""
        return len(self.groups)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(G,) rows of each group, in the order of their index."""
        return np.array([group.count for group in self.groups], dtype=np.int64)

    @property
    def row_id(self) -> NDArray[np.uint64]:
        """(N,) ids of the rows, in the order of the feature set; read from the server when first needed."""
        return self._arrays.row_id

    @property
    def values(self) -> NDArray[np.int64]:
        """(N,) value of each row in `row_id`, -1 for none; read from the server when first needed."""
        return self._arrays.values

    @property
    def soft(self) -> NDArray[np.float32] | None:
        """(N, V) how far each row belongs to each value; None where the method does not say."""
        return self._arrays.soft

    def on(
        self,
        features: Any,
        *,
        split: str | None = None,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        timeout: float = 600.0,
        progress: bool | None = None,
    ) -> Grouping:
        """The rows of another set, assigned by the rule that was stored with this grouping.

        The same as ``client.groupings.assign``, which says what the arguments are. A set of the same examples needs no
        assignment: this grouping serves it as it is.
        """
        return self._server.assign(
            self, features, split=split, name=name, tags=tags, note=note, timeout=timeout, progress=progress
        )

    def table(self) -> str:
        """The groups with their rows, as text."""
        shares = self.counts / max(int(self.counts.sum()), 1)
        rows = [(one.name, str(one.count), f"{share:.3f}") for one, share in zip(self.groups, shares, strict=True)]
        rows += [("in no group", str(self.n_unassigned), "")] if self.n_unassigned else []
        return text_table(("group", "n", "share"), rows)

    def to_frame(self) -> pd.DataFrame:
        """One row per group. Raises ImportError when pandas is missing.

        Columns: `group` (name), `y`, `value` (the index), `class`, `value_name`, and `n`, the rows.
        """
        return frame(
            {
                "group": [group.name for group in self.groups],
                "y": [group.y for group in self.groups],
                "value": [group.a for group in self.groups],
                "class": [group.class_name for group in self.groups],
                "value_name": [group.attribute_value for group in self.groups],
                "n": [group.count for group in self.groups],
            },
            self.notes,
        )

    @property
    def _server(self) -> Source:
        source: Source | None = self.__dict__.get("_source")
        if source is None:
            raise invalid(
                "this grouping was copied without its connection; get it anew: "
                f"client.groupings.get({short(self.digest)!r})"
            )
        return source

    @property
    def _arrays(self) -> GroupingArrays:
        if "_read" not in self.__dict__:
            self.__dict__["_read"] = self._server.read(self)
        return self.__dict__["_read"]

    def __getstate__(self) -> dict[str, Any]:
        """What is copied and pickled: all but the connection."""
        return {name: value for name, value in self.__dict__.items() if name != "_source"}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grouping) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        from penult.results.html.groupings import grouping_html

        return grouping_html(self)

    def __repr__(self) -> str:
        of = f"{self.dataset}/{self.split}" if self.dataset else f"features {short(self.feature_set)}"
        how = self.method if self.attribute == self.method else f"{self.method} {self.attribute!r}"
        left = f", {self.n_unassigned} rows in none" if self.n_unassigned else ""
        what = f"{named(one_line(self.name))}{one_line(how)} of {one_line(of)}"
        return f"Grouping({short(self.digest)}, {what}, {self.n_groups} groups{left}){lines(self.notes)}"
