"""The plots of the records as functions that check what they are given, and where figures are written."""

# matplotlib's stubs leave parts of their signatures open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from penult.arguments.coerce import record
from penult.results.frames import NEEDS_PLOT
from penult.results.records import Run
from penult.results.run_spectra import RunSpectra
from penult.results.spectra import Spectra

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_spectra(spectra: Spectra, *, top_k: int = 10) -> Figure:
    """The `top_k` largest eigenvalues of each group, one panel per class, and the imbalance with its interval.

    The smallest non-empty group of a class is drawn dashed with open markers and named minority. By class, all
    lines share one panel. The last panel holds lambda_1(minority) / lambda_1(majority) of every comparison: as
    measured (open), and at equal numbers of examples with its interval and adjusted p-value (filled).

    Raises ImportError when matplotlib is missing.
    """
    return record("spectra", spectra, Spectra).plot(top_k)


def plot_run_spectra(spectra: RunSpectra) -> Figure:
    """The matched ratio of every comparison over the epochs, with its interval.

    Raises ImportError when matplotlib is missing.
    """
    return record("spectra", spectra, RunSpectra).plot()


def plot_history(run: Run) -> Figure:
    """Accuracies over epochs, one panel per split: every group, the average and the worst group.

    Raises ImportError when matplotlib is missing.
    """
    return record("run", run, Run).plot()


def check_format(path: Path) -> str | None:
    """What is wrong with `path` as the file of a figure, or None. Raises ImportError when matplotlib is missing."""
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError:
        raise ImportError(NEEDS_PLOT.format(what="a figure", package="matplotlib")) from None
    formats = FigureCanvasBase.get_supported_filetypes()
    if path.suffix.lstrip(".").lower() not in formats:
        return f"a figure is written as one of {', '.join(sorted(formats))}; got {str(path)!r}"
    return None


def save(figure: Figure, path: Path) -> None:
    """Write a figure; the ending of `path` says in which format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
