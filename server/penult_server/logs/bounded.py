"""Log files that cannot fill a disk: of one that has grown too large the middle is cut out."""

import contextlib
import fcntl
import os
import stat
import threading

MOST_BYTES = 64 * 2**20
"""Size at which a file is cut."""
KEPT_BYTES = 16 * 2**20
"""Bytes that are kept of its beginning, and of its end."""
LOOK_SECONDS = 2.0
CUT = b"\n[... the middle of this log was cut out ...]\n"


def keep_bounded(descriptor: int = 2, every: float = LOOK_SECONDS) -> threading.Event:
    """Look after what this process writes to a descriptor, in a thread, if that is a file that grows at its end.

    It is looked after until the event is set, or the process ends.
    """
    enough = threading.Event()
    if can_be_cut(descriptor):
        own = os.dup(descriptor)
        threading.Thread(target=_look_after, args=(own, every, enough), name="log", daemon=True).start()
    return enough


def can_be_cut(descriptor: int) -> bool:
    """Whether it is a regular file that is appended to: after the cut others go on at its new end."""
    try:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return is_file and bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND)
    except OSError:
        return False


def cut_middle(descriptor: int, most: int = MOST_BYTES, kept: int = KEPT_BYTES) -> bool:
    """Cut the middle out of a file with more than `most` bytes; whether it had as many.

    What another thread writes in that millisecond may be lost.
    """
    size = os.fstat(descriptor).st_size
    if size <= most:
        return False
    # The descriptor is for writing alone; the file may have been renamed or removed.
    with open(f"/proc/self/fd/{descriptor}", "rb") as file:
        file.seek(size - kept)
        end = file.read()
    os.ftruncate(descriptor, kept)
    # The next look cuts again what this one could not write.
    for content in (CUT, end):
        os.write(descriptor, content)
    return True


def _look_after(descriptor: int, every: float, enough: threading.Event) -> None:
    while not enough.wait(every):
        # A full disk: there will be another look.
        with contextlib.suppress(OSError):
            cut_middle(descriptor)
    os.close(descriptor)
