"""A store is for its owner alone: modes of directories and files, also of those that an earlier version made."""

import logging
import os
import stat
from pathlib import Path

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
OWN = (
    *("checkpoints", "datasets", "features", "groupings", "logs", "runs", "uploads"),
    *("penult.db", "penult.db-shm", "penult.db-wal", "penult.db.commits", "penult.db.copy"),
    *("lock", "reserve", "server.json", "server.log", "store.json", "token"),
)
"""What a server keeps in its root. Whatever else lies there, should somebody serve a folder of other things, stays."""
_OTHERS = 0o077
log = logging.getLogger("penult")


def make_private(root: Path) -> None:
    """Make a root, or take from all others what they may do there.

    The root is changed last: as long as it is open, not all that is in it has been changed, and the next start goes on.
    Links are left alone, and so is what belongs to another user, which is said.
    """
    root.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
    was_open = stat.S_IMODE(root.stat().st_mode) & _OTHERS
    failed: list[str] = []
    for name in OWN:
        _tighten(str(root / name), failed)
        for parent, folders, files in os.walk(root / name) if was_open else ():
            for inner in (*folders, *files):
                _tighten(os.path.join(parent, inner), failed)
    _tighten(str(root), failed)
    if failed:
        log.warning("others may read %s and %d more: it belongs to another user", failed[0], len(failed) - 1)


def _tighten(path: str, failed: list[str]) -> None:
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode) or not mode & _OTHERS:
            return
        os.chmod(path, stat.S_IMODE(mode) & ~_OTHERS)
    except FileNotFoundError:
        return
    except PermissionError:
        failed.append(path)
