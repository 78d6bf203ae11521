"""Problems over some rows of a set that does not fit in memory: their rows are gathered, and the problems moved there.

What is solved together are the problems whose rows fit together. The solvers see fewer rows than the set has, so that
where they choose by the share of the rows that problems use, and in what they learn from all rows (the eigenbasis of
L2 problems with more rows than features), they may go another way to the same optimum; a problem alone, with an l1 or
with fewer rows than features, is solved to the same bits.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.linear.problem import Problem
from penult_server.compute.refits.material import RefitMaterial
from penult_server.compute.rows.resident import Resident

Positions = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """Problems that are solved together, over rows in memory."""

    places: Sequence[int]
    """Where the problems stand among those that were given."""
    problems: Sequence[Problem]
    resident: Resident


def in_memory(
    digest: str, problems: Sequence[Problem], material: RefitMaterial, check: Callable[[], None]
) -> Iterator[Drawn]:
    """The problems over a set, all together where it fits, else as many as have rows that fit.

    Raises ServiceError (OUT_OF_MEMORY) where the rows of one problem do not, and what reading raises.
    """
    if material.fits(digest):
        yield Drawn(places=range(len(problems)), problems=problems, resident=material.resident(digest, check))
        return
    for places, rows in _batches(problems, digest, material):
        resident = material.gathered(digest, rows, check)
        own = _Moved(rows)
        yield Drawn(places=places, problems=[own(problems[place]) for place in places], resident=resident)


def _batches(
    problems: Sequence[Problem], digest: str, material: RefitMaterial
) -> Iterator[tuple[list[int], Positions]]:
    """Places of problems, those over the same rows beside each other, and the union of their rows."""
    alike: dict[int, list[int]] = {}
    for place, problem in enumerate(problems):
        alike.setdefault(id(problem.rows), []).append(place)
    most = material.most_rows(digest)
    places: list[int] = []
    union: Positions = np.zeros(0, np.int64)
    for own in alike.values():
        rows = problems[own[0]].rows
        material.check_rows(digest, material.manifest(digest).n_examples if rows is None else rows.size)
        assert rows is not None  # all rows do not fit
        wider = np.union1d(union, rows)
        if places and wider.size > most:
            yield places, union
            places, wider = [], rows
        places, union = [*places, *own], wider
    yield places, union


class _Moved:
    """Moves problems to the rows that were gathered; equal arrays are made once."""

    def __init__(self, rows: Positions) -> None:
        self._rows = rows
        self._made: dict[tuple[str, int], Any] = {}

    def __call__(self, problem: Problem) -> Problem:
        return replace(
            problem,
            rows=self._once("rows", problem.rows, self._placed),
            offset=self._once("offset", problem.offset, lambda of_all: of_all[self._rows]),
            target=self._once("target", problem.target, lambda of_all: of_all[self._rows]),
        )

    def _placed(self, rows: Positions) -> Positions | None:
        return None if rows.size == self._rows.size else np.searchsorted(self._rows, rows)

    def _once(self, name: str, values: Any, make: Callable[[Any], Any]) -> Any:
        if values is None:
            return None
        if (name, id(values)) not in self._made:
            self._made[name, id(values)] = make(values)
        return self._made[name, id(values)]
