"""Figures of stored answers: eigenvalues, scores of candidates, and worst group against average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from penult.display.names import one_line
from penult.web.charts.model import MOST_LINES, Chart, Line, numbers

if TYPE_CHECKING:
    from penult.results.lists.stored import ResultSummary
    from penult.results.refits import Selection
    from penult.results.spectra import Spectra

SMALLEST = 1e-9
"""Eigenvalues below this fraction of their group's largest are drawn as 0, that is not at all."""


def spectrum_chart(spectra: Spectra) -> Chart | None:
    """Eigenvalues of every group over their rank, both logarithmic; None where there are none.

    The band of a line is the distance within which an exact eigenvalue lies; the interval of the largest eigenvalue by
    the bootstrap stands in the place of the first, where the answer has one.
    """
    n_groups, n_kept = spectra.eigenvalues.shape
    there = [place for place in range(n_groups) if spectra.eigenvalues[place, 0] > 0] if n_kept else []
    if not there:
        return None
    largest = sorted(there, key=lambda place: -float(spectra.eigenvalues[place, 0]))[:MOST_LINES]
    lines = [_spectrum(spectra, place) for place in sorted(largest)]
    left = len(there) - len(largest)
    top = largest[0]
    return Chart(
        title=f"Eigenvalues by {spectra.by}",
        says=(
            f"{spectra.groups[top].name} has the largest, {spectra.eigenvalues[top, 0]:.4g}."
            f"{f' {left} with smaller ones are left out.' if left else ''}"
        ),
        x_label="rank",
        y_label="eigenvalue",
        x=tuple(float(rank) for rank in range(1, n_kept + 1)),
        lines=tuple(lines),
        log_x=n_kept > 1,
        log_y=True,
    )


def _spectrum(spectra: Spectra, place: int) -> Line:
    values, reach = spectra.eigenvalues[place], spectra.residuals[place]
    low, high = list(values - reach), list(values + reach)
    if spectra.interval is not None:
        low[0], high[0] = spectra.interval[place]
    group = spectra.groups[place]
    # What rounding leaves of an eigenvalue that is 0 is no value to draw.
    least = SMALLEST * float(spectra.eigenvalues[place, 0])
    kept = [float(value) if value > least else 0.0 for value in values]
    ends = [[end if value else float("nan") for end, value in zip(part, kept, strict=True)] for part in (low, high)]
    name = f"{one_line(group.name, 26)}, n={group.count}"
    return Line(name=name, y=numbers(kept), low=numbers(ends[0]), high=numbers(ends[1]))


def selection_chart(selection: Selection) -> Chart | None:
    """The score of every candidate over the number of the grid with most values; None of a single candidate."""
    names = list(selection.chosen.values)
    counts = {name: len({one.values[name] for one in selection.candidates}) for name in names}
    if not counts or max(counts.values()) < 2:
        return None
    axis = max(names, key=lambda name: counts[name])
    x = tuple(sorted({one.values[axis] for one in selection.candidates}))
    others = [name for name in names if name != axis]
    series: dict[tuple[float, ...], dict[float, float]] = {}
    for one in selection.candidates:
        series.setdefault(tuple(one.values[name] for name in others), {})[one.values[axis]] = one.score
    best = sorted(series.items(), key=lambda pair: -max(value if value == value else -1 for value in pair[1].values()))
    lines = [
        Line(
            name=", ".join(f"{name} {value:g}" for name, value in zip(others, key, strict=True)) or selection.metric,
            y=numbers([scores.get(at, float("nan")) for at in x]),
        )
        for key, scores in best[:MOST_LINES]
    ]
    left = len(best) - len(lines)
    chosen = ", ".join(f"{name} {value:.4g}" for name, value in selection.chosen.values.items())
    return Chart(
        title="Scores of the candidates",
        says=f"Chosen: {chosen}, by {selection.metric}.{f' The best {len(lines)} lines are drawn.' if left else ''}",
        x_label=axis,
        y_label=selection.metric.replace("_", " "),
        x=x,
        lines=tuple(lines),
        log_x=x[0] > 0 and x[-1] / x[0] > 30,
    )


def scatter_chart(refits: Sequence[ResultSummary]) -> Chart | None:
    """Worst group against average of every refit on one evaluated set; None where none was evaluated."""
    sets = [score.evaluated_on for one in refits for score in one.scores]
    if not sets:
        return None
    chosen = "test" if "test" in sets else max(dict.fromkeys(sets), key=sets.count)
    points = sorted(
        (score.average_accuracy, score.worst_group_accuracy, one.preset or "own settings", one.title)
        for one in refits
        for score in one.scores
        if score.evaluated_on == chosen and score.average_accuracy == score.average_accuracy
    )
    presets = sorted({preset for _, _, preset, _ in points})
    shown = presets[: MOST_LINES - 1]
    of = {name: name if name in shown else "others" for name in presets}
    lines = [
        Line(
            name=name,
            y=tuple(numbers([worst])[0] if of[preset] == name else None for _, worst, preset, _ in points),
        )
        for name in dict.fromkeys(of.values())
    ]
    best = max(points, key=lambda point: point[1], default=None)
    if best is None:
        return None
    return Chart(
        title=f"Worst group against average on {chosen}",
        says=f"{len(points)} refits; the best worst group is {best[1]:.3f}, of {best[2]}, with average {best[0]:.3f}.",
        x_label="average accuracy",
        y_label="worst group",
        x=tuple(average for average, _, _, _ in points),
        lines=tuple(lines),
        kind="points",
        names=tuple(f"{title}, average {average:.3f}" for average, _, _, title in points),
    )
