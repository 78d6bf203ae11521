"""Figures of runs: accuracies over epochs, and the imbalance of spectra beside the gap between groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from penult.display.names import in_usual_order
from penult.web.charts.model import MOST_LINES, Chart, Line, number, numbers

if TYPE_CHECKING:
    from penult.results.metrics import EpochMetrics
    from penult.results.records import Run
    from penult.results.spectra import Spectra


MOST_EPOCHS, FEW_EPOCHS = 200, 25
"""Epochs that are drawn, evenly spaced with the first and the last; of a short figure."""


def history_charts(history: Sequence[EpochMetrics], *, is_short: bool = False) -> list[Chart]:
    """One figure for each split: the accuracy of every group after every epoch, with 95 % intervals.

    `is_short`: of the last split in the usual order alone, in few epochs.
    """
    splits = in_usual_order({entry.split: None for entry in history})
    history = _thinned(history, FEW_EPOCHS if is_short else MOST_EPOCHS)
    splits = splits[-1:] if is_short else splits
    return [_of_split(split, [entry for entry in history if entry.split == split]) for split in splits]


def _thinned(history: Sequence[EpochMetrics], most: int) -> list[EpochMetrics]:
    epochs = sorted({entry.epoch for entry in history})
    if len(epochs) <= most:
        return list(history)
    kept = {epochs[round(place * (len(epochs) - 1) / (most - 1))] for place in range(most)}
    return [entry for entry in history if entry.epoch in kept]


def _of_split(split: str, history: Sequence[EpochMetrics]) -> Chart:
    entries = sorted(history, key=lambda entry: entry.epoch)
    last = entries[-1].metrics
    order = sorted(range(len(last.groups)), key=lambda place: _low_first(float(last.group_accuracy[place])))
    shown = sorted(order[:MOST_LINES])
    lines = [
        Line(
            name=last.groups[place].name,
            y=numbers([entry.metrics.group_accuracy[place] for entry in entries]),
            low=numbers([entry.metrics.group_low[place] for entry in entries]),
            high=numbers([entry.metrics.group_high[place] for entry in entries]),
        )
        for place in shown
    ]
    average = Line(name="average", y=numbers([entry.metrics.average_accuracy for entry in entries]))
    left = len(last.groups) - len(shown)
    rest = f" {left} groups that are better at the end are left out." if left else ""
    return Chart(
        title=f"Accuracy on {split}",
        says=(
            f"After epoch {entries[-1].epoch:g} the worst group, {last.worst_group.name}, is at "
            f"{last.worst_group_accuracy:.3f}, the average at {last.average_accuracy:.3f}.{rest}"
        ),
        x_label="epoch",
        y_label="accuracy",
        x=tuple(entry.epoch for entry in entries),
        lines=(*lines, average),
    )


def _low_first(value: float) -> float:
    return value if value == value else 2.0


def gap_chart(run: Run, spectra: Sequence[tuple[float, Spectra]]) -> Chart | None:
    """The imbalance of every class beside the gap between its groups, by epoch; None without two epochs of spectra.

    The gap of an epoch is the average accuracy less the worst group's, on the test split where that was measured.
    """
    by_epoch = dict(sorted(spectra, key=lambda pair: pair[0]))
    if len(by_epoch) < 2:
        return None
    split = "test" if any(entry.split == "test" for entry in run.history) else "val"
    gaps = {
        entry.epoch: entry.metrics.average_accuracy - entry.metrics.worst_group_accuracy
        for entry in run.history
        if entry.split == split
    }
    first = next(iter(by_epoch.values()))
    lines = [
        Line(name=f"imbalance of {entry.label}", y=tuple(_ratio(one, entry.label) for one in by_epoch.values()))
        for entry in first.imbalance[: MOST_LINES - 1]
    ]
    gap = Line(name=f"gap on {split}", y=tuple(number(gaps.get(epoch, float("nan"))) for epoch in by_epoch))
    return Chart(
        title="Imbalance and gap by epoch",
        says=(
            "Imbalance is the ratio of the largest eigenvalues of minority and majority, at equal n where that was "
            "computed; the gap is the average accuracy less the worst group's."
        ),
        x_label="epoch",
        y_label="ratio; gap",
        x=tuple(by_epoch),
        lines=(*lines, gap),
    )


def _ratio(spectra: Spectra, label: str) -> float | None:
    for entry in spectra.imbalance:
        if entry.label == label:
            return number(entry.matched_ratio) or number(entry.ratio)
    return None
