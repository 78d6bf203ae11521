"""All requested diagnostics of a set together: one pass for what all of them sum, a second for what needs the first."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from penult_kernels.diagnostics.definition import Diagnostic, Interval, Size, Value
from penult_kernels.diagnostics.registry import DEFINITIONS, DIAGNOSTICS, expand
from penult_kernels.diagnostics.shared.context import DEFAULTS, Context
from penult_kernels.diagnostics.shared.draws import FEWEST, Draws
from penult_kernels.diagnostics.subject import Subject

MOST_SUM_BYTES = 2**29
"""Bytes of the sums of all cells under all draws: with more cells there are fewer draws."""
DRAWS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How values are computed, besides which."""

    replicates: int = DRAWS
    """Bootstrap draws; 0 for no such intervals."""
    matched: int = DRAWS
    """Draws of the rows of the smallest part; 0 for no values at matched n."""
    seed: int = 0
    numbers: Mapping[str, float] | None = None
    block_rows: int = 0
    """Rows of a block; 0 for as many as memory allows. No answer depends on it but by rounding."""

    def __post_init__(self) -> None:
        if self.replicates < 0:
            raise ValueError(f"replicates must be 0 (none) or more, got {self.replicates}")
        if self.matched < 0:
            raise ValueError(f"matched must be 0 (none) or more, got {self.matched}")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, got {self.seed}")
        for name, value in (self.numbers or {}).items():
            if name not in DEFAULTS:
                raise ValueError(f"numbers are {', '.join(DEFAULTS)}; got {name!r}")
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a positive finite number, got {value}")


def diagnose(
    subject: Subject,
    names: Iterable[str],
    settings: Settings | None = None,
    *,
    check: Callable[[], None] = lambda: None,
    report: Callable[[float, float], None] = lambda done, whole: None,
) -> list[Value]:
    """Values of every id, in the order of the registry.

    Parameters
    ----------
    subject : Subject
        What is diagnosed.
    names : iterable of str
        Ids and families.
    settings : Settings, optional
        Draws, seed and numbers.
    check : callable, optional
        Called between steps; what it raises ends the computation.
    report : callable, optional
        Called with the rows read of a pass, and of how many.

    Returns
    -------
    list of Value
        A diagnostic that needs what the subject does not have is one value of NaN whose note says so.

    Raises
    ------
    UnknownDiagnosticError
        For an id that there is not.
    ValueError
        When settings are out of range.
    """
    settings = settings or Settings()
    wanted = frozenset(expand(names))
    possible = [one for one in DIAGNOSTICS if wanted.intersection(d.id for d in one)]
    context = Context(
        subject=subject,
        draws=draws_of(subject, settings),
        numbers=settings.numbers or {},
        check=check,
        report=report,
        block_rows=settings.block_rows,
    )
    able = [one for one in possible if not _missing(one, wanted, subject)]
    context.accumulate([kind for one in able for kind in one.first])
    context.accumulate([kind for one in able for kind in one.second])
    found: list[Value] = []
    for one in possible:
        check()
        missing = _missing(one, wanted, subject)
        ids = [definition.id for definition in one if definition.id in wanted]
        if missing:
            found += [Value(id=id, n=subject.rows.shape[0], note=f"needs {missing}, which are not here") for id in ids]
        else:
            found += [_told(value, context) for value in one.compute(context, frozenset(ids))]
    if subject.n_parts == 1:
        # The one part is all rows: a number of both is one number.
        of_all = {value.id for value in found if not value.parts and not value.column}
        found = [value for value in found if value.id not in of_all or value.column or not value.parts]
    order = {id: place for place, id in enumerate(DEFINITIONS)}
    return sorted(found, key=lambda value: order[value.id])


def draws_of(subject: Subject, settings: Settings) -> Draws:
    """As many draws as are asked for, or as the sums of all cells have memory for."""
    n_cells = max(1, subject.cells[1].size)
    most = MOST_SUM_BYTES // (8 * n_cells * subject.rows.shape[1])
    wanted = settings.replicates + settings.matched
    scale = 1.0 if wanted <= most else most / wanted
    replicates, matched = (int(scale * one) for one in (settings.replicates, settings.matched))
    return Draws(
        subject=subject,
        replicates=replicates if replicates >= FEWEST or scale == 1.0 else 0,
        matched=matched if matched >= FEWEST or scale == 1.0 else 0,
        seed=settings.seed,
    )


def work(names: Iterable[str], size: Size) -> float:
    """Multiplications of a request, about. Raises UnknownDiagnosticError."""
    wanted = frozenset(expand(names))
    return sum(one.work(size) for one in DIAGNOSTICS if wanted.intersection(d.id for d in one))


def memory(names: Iterable[str], size: Size) -> float:
    """Bytes of a request besides rows, about. Raises UnknownDiagnosticError."""
    wanted = frozenset(expand(names))
    sums = size.draws * (size.n + 8.0 * size.parts * size.d)
    return sums + sum(one.memory(size) for one in DIAGNOSTICS if wanted.intersection(d.id for d in one))


def _missing(diagnostic: Diagnostic, wanted: frozenset[str], subject: Subject) -> str:
    """What it needs and the subject does not have, in words; empty for nothing."""
    needs = frozenset[str]().union(*(one.needs for one in diagnostic if one.id in wanted))
    return ", ".join(sorted(needs - subject.has))


def _told(value: Value, context: Context) -> Value:
    """The same, with a note where draws were asked for and there are none or fewer."""
    if value.note or not math.isfinite(value.value):
        return value
    is_drawn = DEFINITIONS[value.id].interval is Interval.BOOTSTRAP
    if is_drawn and math.isnan(value.low) and context.draws.replicates:
        return replace(value, note="no interval: fewer than 20 of the bootstrap draws have a value")
    return value
