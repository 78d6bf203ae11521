"""What a waiting user sees: a bar with the stage and the time left, and for runs a line for each split and epoch."""

import os
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from penult.arguments.coerce import flag
from penult.results.metrics import EpochMetrics
from penult_proto.v1 import jobs_pb2

VARIABLE = "PENULT_PROGRESS"
"""Environment variable; 0 shows nothing where the caller does not say."""
PATIENCE = 1.0
"""Seconds after which a wait is long enough to be shown."""
USUAL_WIDTH = 80
REDRAWN = 0.1
"""Seconds between two drawings of a bar in a notebook, at least."""


class Watcher(Protocol):
    """Told what happens to something that is waited for."""

    def advance(self, progress: jobs_pb2.Progress) -> None:
        """How far it is."""
        ...

    def report(self, entry: EpochMetrics) -> None:
        """Metrics of a split after an epoch."""
        ...

    def close(self) -> None:
        """Nothing more comes. May be called again."""
        ...


class Silent:
    """Shows nothing."""

    def advance(self, progress: jobs_pb2.Progress) -> None:
        """Shows nothing."""

    def report(self, entry: EpochMetrics) -> None:
        """Shows nothing."""

    def close(self) -> None:
        """Has nothing to close."""


class Late:
    """A bar that is made once a second has passed, with what it would have shown until then."""

    def __init__(self, title: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._title, self._clock = title, clock
        self._due = clock() + PATIENCE
        self._bar: Watcher | None = None
        self._entries: list[EpochMetrics] = []

    def advance(self, progress: jobs_pb2.Progress) -> None:
        """Move the bar, if it is time for one."""
        if (bar := self._shown()) is not None:
            bar.advance(progress)

    def report(self, entry: EpochMetrics) -> None:
        """Show the line, or keep it until it is time."""
        self._entries.append(entry)
        self._shown()

    def close(self) -> None:
        """Leave the bar, if there is one, as it stands."""
        if self._bar is not None:
            self._bar.close()

    def _shown(self) -> Watcher | None:
        if self._bar is None and self._clock() >= self._due:
            self._bar = new_bar(self._title)
        if self._bar is not None:
            for entry in self._entries:
                self._bar.report(entry)
            self._entries.clear()
        return self._bar


class TerminalBar:
    """A tqdm bar on stderr."""

    def __init__(self, title: str) -> None:
        # Loading tqdm takes a fifth of a second, which only those who watch should pay.
        from tqdm.std import tqdm

        self._title, self._pace = title, Pace()
        self._bar: tqdm[Any] = tqdm(
            desc=title, total=1, ncols=_width(), nrows=20, file=sys.stderr, bar_format="{desc} [{elapsed}]"
        )

    def advance(self, progress: jobs_pb2.Progress) -> None:
        """Move the bar; title and stage stand in front of it."""
        bar, left = self._bar, self._pace.left(progress)
        bar.total, bar.ncols = progress.total or 1, _width()
        said = f"{self._title}: {progress.stage}"
        # A long title would take the place of the bar.
        bar.set_description_str(said if 2 * len(said) <= bar.ncols else progress.stage, refresh=False)
        bar.bar_format = "{desc} [{elapsed}]"
        if progress.total:
            bar.bar_format = f"{{desc}} {{percentage:3.0f}}%|{{bar}}| {amounts(progress)} [{{elapsed}}<{left or '?'}]"
        # Less than before when work resumes from an earlier point, or a stage begins.
        bar.n = progress.done
        bar.refresh()

    def report(self, entry: EpochMetrics) -> None:
        """Write the line above the bar."""
        self._bar.write(epoch_line(entry), file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()


class NotebookBar:
    """One output of a cell, which is drawn anew; it needs no widgets, and stays in the notebook as it ended."""

    def __init__(self, title: str, clock: Callable[[], float] = time.monotonic) -> None:
        from IPython.display import HTML, display  # pyright: ignore[reportUnknownVariableType]

        self._html: Callable[[str], object] = HTML
        self._title, self._pace, self._clock = title, Pace(clock), clock
        self._now = jobs_pb2.Progress()
        self._left, self._lines, self._due = "", list[str](), 0.0
        self._handle: Any = display(HTML(self._text()), display_id=True)

    def advance(self, progress: jobs_pb2.Progress) -> None:
        """Draw the bar, unless it was drawn just now."""
        self._now, self._left = progress, self._pace.left(progress)
        if self._clock() >= self._due:
            self._due = self._clock() + REDRAWN
            self._draw()

    def report(self, entry: EpochMetrics) -> None:
        """Write the line below the bar."""
        self._lines.append(epoch_line(entry))
        self._draw()

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._left = ""
        self._draw()

    def _draw(self) -> None:
        if self._handle is not None:
            self._handle.update(self._html(self._text()))

    def _text(self) -> str:
        from html import escape  # only notebooks need its entities

        now = self._now
        bar = (
            f'<progress value="{now.done:g}" max="{now.total:g}"></progress> {escape(amounts(now))}'
            if now.total
            else ""
        )
        left = f", {self._left} left" if self._left else ""
        lines = f"<pre>{escape(chr(10).join(self._lines))}</pre>" if self._lines else ""
        stage = f": {now.stage}" if now.stage else ""
        return f"<div>{escape(self._title + stage)} {bar}{left}{lines}</div>"


class Pace:
    """How fast a stage goes, from where it was first seen."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage, self._begun, self._before, self._last = "", 0.0, 0.0, 0.0

    def left(self, progress: jobs_pb2.Progress) -> str:
        """Time until the stage ends, such as 02:13; empty when that cannot be said yet."""
        now = self._clock()
        if progress.stage != self._stage or progress.done < self._last:
            self._stage, self._begun, self._before = progress.stage, now, progress.done
        self._last = progress.done
        done = progress.done - self._before
        if done <= 0 or now <= self._begun:
            return ""
        return clock_time((progress.total - progress.done) * (now - self._begun) / done)


def clock_time(seconds: float) -> str:
    """Minutes and seconds, or hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def amounts(progress: jobs_pb2.Progress) -> str:
    """Such as "120 of 400 resamples"."""
    done, total = (f"{round(value, 1):.10g}" for value in (progress.done, progress.total))
    return f"{done} of {total} {progress.unit}"


def new_bar(title: str) -> Watcher:
    """A bar where the user looks."""
    return NotebookBar(title) if in_kernel() else TerminalBar(title)


def _width() -> int:
    """Columns of the terminal; 80 where there is none, or it does not say."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or USUAL_WIDTH
    except (OSError, ValueError, AttributeError):
        return USUAL_WIDTH


def watcher_of(title: str, progress: bool | None) -> Watcher:
    """A bar at once where the caller asks for it; without a word, one that comes late where progress is shown."""
    if not is_shown(progress):
        return Silent()
    return new_bar(title) if progress else Late(title)


def in_kernel() -> bool:
    """Whether this is a kernel of Jupyter, whose output a notebook shows."""
    # Who runs in a kernel has loaded IPython.
    module: Any = sys.modules.get("IPython")
    shell = None if module is None else module.get_ipython()
    return getattr(shell, "kernel", None) is not None


def is_shown(progress: bool | None) -> bool:
    """Whether progress is shown: as the caller says, else on a terminal and in a notebook. Raises `InvalidRequest`."""
    if progress is not None:
        return flag("progress", progress)
    if os.environ.get(VARIABLE) == "0":
        return False
    return in_kernel() or (sys.stderr is not None and sys.stderr.isatty())  # pyright: ignore[reportUnnecessaryComparison]


def epoch_line(entry: EpochMetrics) -> str:
    """Accuracies of a split after an epoch, in a line."""
    metrics = entry.metrics
    return (
        f"epoch {entry.epoch:>5.4g}  {entry.split:<8} average {metrics.average_accuracy:.3f}  "
        f"worst group {metrics.worst_group_accuracy:.3f} ({metrics.worst_group.name})"
    )
