"""Rounds of work of refits, and how those of many refits are done together.

A refit is a generator: it yields a list of work, is sent the list of results, and so on until it returns. The work of
all refits that wait at the same time is done by one call of the kernels for each feature set and tolerance. Other work
of the same call changes an answer only within the tolerance.
"""

import warnings
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from penult_kernels.linear.solve import ConvergenceWarning, Eigenbases, Fit, Head, Problem, solve
from penult_kernels.trajectories.descend import descend
from penult_kernels.trajectories.settings import Trajectory, TrajectorySettings, Watch
from penult_server.compute.refits.drawn import in_memory
from penult_server.compute.refits.material import RefitMaterial
from penult_server.compute.reporting import SILENT, Reporter

T = TypeVar("T")
H = TypeVar("H", bound=Head)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Solve:
    """Problems to be solved to the optimum; each result is a `Fit` on the host."""

    digest: str
    problems: Sequence[Problem]
    tolerance: float
    max_iterations: int
    features: Any = None
    """(N, k) of the rows of the set, on the device, in place of the set's own."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Descend:
    """Problems whose trajectories are to be computed; each result is a `Trajectory` on the host."""

    digest: str
    problems: Sequence[Problem]
    settings: Sequence[TrajectorySettings]
    watch: Watch | None
    features: Any = None
    """As of `Solve`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Logits:
    """Heads to be applied to a set; each result is the (N, C) logits on the device."""

    digest: str
    heads: Sequence[Head]


Work: TypeAlias = Solve | Descend | Logits
Rounds: TypeAlias = Generator[list[Work], list[list[Any]], T]
"""A refit in progress."""


def gather(members: Sequence[Rounds[T]]) -> Rounds[list[T]]:
    """Several refits as one, which take their rounds together."""
    answers: dict[int, T] = {}
    waiting: dict[int, list[Work]] = {}
    for index, member in enumerate(members):
        _advance(index, member, None, waiting, answers)
    while waiting:
        asked = dict(waiting)
        results = yield [work for works in asked.values() for work in works]
        waiting.clear()
        first = 0
        for index, works in asked.items():
            _advance(index, members[index], results[first : first + len(works)], waiting, answers)
            first += len(works)
    return [answers[index] for index in range(len(members))]


def _advance(
    index: int,
    member: Rounds[T],
    results: list[list[Any]] | None,
    waiting: dict[int, list[Work]],
    answers: dict[int, T],
) -> None:
    try:
        waiting[index] = next(member) if results is None else member.send(results)
    except StopIteration as stop:
        answers[index] = stop.value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Interest:
    """Whether callers still want answers, asked between passes over the rows."""

    check: Callable[[], None]
    """May raise, which ends all work."""
    is_wanted: Callable[[int], bool]
    """Whether the work at a position is wanted; once False, always False."""
    progress: Reporter = SILENT
    """Told how much of the work is done."""


def do_together(works: Sequence[Work], material: RefitMaterial, interest: Interest) -> list[list[Any]]:
    """Results of all work, in order, with as few calls of the kernels as possible.

    Work that is not wanted any more stops at once; its results must not be used. An error of the kernels is raised for
    all of it.
    """
    alike: dict[Hashable, list[int]] = {}
    for position, work in enumerate(works):
        alike.setdefault(_key(work), []).append(position)
    found: dict[int, list[Any]] = {}
    for positions in alike.values():
        interest.check()
        members = [works[position] for position in positions]
        sizes = [len(work.heads if isinstance(work, Logits) else work.problems) for work in members]
        owner = np.repeat(positions, sizes)

        def is_wanted(index: int, owner: NDArray[np.int64] = owner) -> bool:
            return interest.is_wanted(int(owner[index]))

        results = _do(members, material, replace(interest, is_wanted=is_wanted))
        ends = np.cumsum(sizes).tolist()
        for position, size, end in zip(positions, sizes, ends, strict=True):
            found[position] = results[end - size : end]
    return [found[position] for position in range(len(works))]


def _key(work: Work) -> Hashable:
    match work:
        case Solve():
            return ("solve", work.digest, id(work.features), work.tolerance, work.max_iterations)
        case Descend():
            return ("descend", work.digest, id(work.features))
        case Logits():
            return ("logits", work.digest)


def _do(members: Sequence[Work], material: RefitMaterial, interest: Interest) -> list[Any]:
    solves = [work for work in members if isinstance(work, Solve)]
    if solves:
        return _solve(solves, material, interest)
    descents = [work for work in members if isinstance(work, Descend)]
    if descents:
        return _descend(descents, material, interest)
    asked = [work for work in members if isinstance(work, Logits)]
    heads = [head for work in asked for head in work.heads]
    if not heads:
        return []
    return material.logits_of(asked[0].digest, heads, interest.check)


def _solve(works: Sequence[Solve], material: RefitMaterial, interest: Interest) -> list[Fit]:
    first = works[0]
    found: dict[int, Fit] = {}
    for part in _parts(works, material, interest):
        with warnings.catch_warnings():
            # The certificate, which is part of every answer, tells the caller.
            warnings.simplefilter("ignore", ConvergenceWarning)
            fits = solve(
                part.features,
                part.y,
                part.n_classes,
                part.problems,
                tolerance=first.tolerance,
                max_iterations=first.max_iterations,
                check=interest.check,
                is_wanted=part.is_wanted,
                report=interest.progress.stage("fitting", "problems"),
                bases=part.bases,
            )
        found.update((place, _on_host(fit, material)) for place, fit in zip(part.places, fits, strict=True))
    return [found[place] for place in range(len(found))]


def _descend(works: Sequence[Descend], material: RefitMaterial, interest: Interest) -> list[Trajectory]:
    settings = [one for work in works for one in work.settings]
    watches = [work.watch for work in works for _ in work.problems]
    found: dict[int, Trajectory] = {}
    for part in _parts(works, material, interest):
        paths = descend(
            part.features,
            part.y,
            part.n_classes,
            part.problems,
            [settings[place] for place in part.places],
            watch=[watches[place] for place in part.places],
            check=interest.check,
            is_wanted=part.is_wanted,
            report=interest.progress.stage("following paths", "steps"),
        )
        found.update((place, _on_host(path, material)) for place, path in zip(part.places, paths, strict=True))
    return [found[place] for place in range(len(found))]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    """Problems that are solved together, and the rows that they are over."""

    places: Sequence[int]
    """Among all problems of the work."""
    problems: Sequence[Problem]
    features: Any
    y: NDArray[np.int64]
    n_classes: int
    bases: Eigenbases | None
    is_wanted: Callable[[int], bool]
    """Whether the problem at a place of the part is wanted."""


def _parts(works: Sequence[Solve | Descend], material: RefitMaterial, interest: Interest) -> Iterator[_Part]:
    """All problems of the works; of a set that does not fit in memory as many as have rows that fit together."""
    digest, features = works[0].digest, works[0].features
    n_classes = len(material.manifest(digest).labels.classes)
    problems = [problem for work in works for problem in work.problems]
    if features is not None:
        y = material.labels(digest).y
        yield _Part(
            places=range(len(problems)),
            problems=problems,
            features=features,
            y=y,
            n_classes=n_classes,
            bases=None,
            is_wanted=interest.is_wanted,
        )
        return
    for drawn in in_memory(digest, problems, material, interest.check):
        resident = drawn.resident

        def is_wanted(index: int, places: Sequence[int] = drawn.places) -> bool:
            return interest.is_wanted(places[index])

        yield _Part(
            places=drawn.places,
            problems=drawn.problems,
            features=resident.features,
            y=resident.y,
            n_classes=n_classes,
            bases=resident.bases,
            is_wanted=is_wanted,
        )


def _on_host(head: H, material: RefitMaterial) -> H:
    return replace(head, weight=material.backend.to_host(head.weight), bias=material.backend.to_host(head.bias))
