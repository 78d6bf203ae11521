"""Ctrl-C while something is waited for: what is true is said once, and the exception goes on without its traceback."""

import sys
from types import TracebackType

_TOLD = "_penult_told"
"""Attribute of an interrupt that was explained where it arrived."""


def told(error: KeyboardInterrupt, message: str) -> None:
    """Say what became of what was waited for, once; the caller then raises `error` on.

    It stays the KeyboardInterrupt that it is: whoever catches it, or cleans up behind it, does so as ever. A script
    that does not catch it ends by SIGINT, as shells expect, so that a loop over scripts ends, too; the cells of a
    notebook stop. Only its traceback, which says where a program waited, is shown neither by Python nor by IPython.
    """
    if getattr(error, _TOLD, False):
        return
    sys.stderr.write(f"\n{message}\n")
    setattr(error, _TOLD, True)
    # IPython shows the lines that an exception of such a method gives.
    error._render_traceback_ = lambda: ["KeyboardInterrupt"]  # pyright: ignore[reportAttributeAccessIssue]
    if sys.excepthook is not _quiet:
        global _shown_before
        _shown_before = sys.excepthook
        sys.excepthook = _quiet


_shown_before = sys.__excepthook__


def _quiet(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show what ends a script, unless it is an interrupt that was explained already."""
    if not getattr(error, _TOLD, False):
        _shown_before(kind, error, trace)
