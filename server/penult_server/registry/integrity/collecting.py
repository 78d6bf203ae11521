"""What nobody asks for any more, and what nothing knows: found, and removed after a time of grace.

* A stored answer that has no name, tag or note, that no run or job names, and that was neither made nor asked for
  within that time.
* A directory or file of the store that the registry does not know, and that has not changed within it: what a crash
  has left, logs of deleted jobs, token ids of deleted datasets.
* A feature set that was set aside as damaged, or a registry that was replaced, so long ago.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select

from penult_server.registry.database import Database
from penult_server.registry.deletion import Deletions
from penult_server.registry.deletion_plan import Closure, Plan, Sort, Thing
from penult_server.registry.tables import asked, card, result
from penult_server.stores.disk.sizes import Sizes
from penult_server.stores.removal import FOLDERS

GRACE_SECONDS = 30 * 86400.0
LEAST_GRACE_SECONDS = 3600.0
"""Never less for files: what a job writes is registered only when it is whole."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What was, or would be, removed."""

    answers: int
    answer_bytes: int
    files: tuple[str, ...]
    """Relative to the store."""
    file_bytes: int
    dry_run: bool

    def __str__(self) -> str:
        done = "would remove" if self.dry_run else "removed"
        lines = [f"{done} {name}" for name in self.files]
        answers = f"{done} {self.answers} answers ({self.answer_bytes:,} bytes)"
        return "\n".join([*lines, f"{answers} and {len(self.files)} leftovers ({self.file_bytes:,} bytes)"])


def collect(database: Database, deletions: Deletions, root: Path, older_than: float, *, dry_run: bool) -> Collected:
    """Forget what is older than so many seconds, and say which files may go; where the registry is written."""
    going = _unwanted(database, deletions, time.time() - older_than)
    places = list(_unknown(root, deletions, time.time() - max(older_than, LEAST_GRACE_SECONDS)))
    sizes = Sizes()
    collected = Collected(
        answers=len(going),
        answer_bytes=sum(one.n_bytes for one in going),
        files=tuple(str(path.relative_to(root)) for path in places),
        file_bytes=sum(sizes.of(path) for path in places),
        dry_run=dry_run,
    )
    if going and not dry_run:
        deletions.execute(Plan(goes=going))
    return collected


def _unwanted(database: Database, deletions: Deletions, before: float) -> list[Thing]:
    closure = Closure(deletions.holdings)
    named = {digest for facts in closure.runs.values() for digest in facts.named}
    named |= {digest for job in closure.jobs for digest in job.named}
    its_card = (card.c.kind == "result") & (card.c.id == result.c.digest)
    is_bare = (card.c.name == "") & (card.c.tags == "[]") & (card.c.note == "")
    times = (card.c.created, result.c.created, func.coalesce(asked.c.time, 0.0))
    rows = database.rows(
        select(result.c.digest, func.length(result.c.message))
        .join_from(result, card, its_card)
        .outerjoin(asked, asked.c.digest == result.c.digest)
        .where(is_bare, *(one < before for one in times))
    )
    return [Thing(Sort.RESULT, id, "nobody asks for it", n_bytes=int(size)) for id, size in rows if id not in named]


def _unknown(root: Path, deletions: Deletions, before: float) -> Iterator[Path]:
    for path in sorted(root.glob("penult.db.damaged-*")):
        if path.stat().st_mtime < before:
            yield path
    for folder in FOLDERS:
        directory = root / folder
        for path in sorted(directory.iterdir()) if directory.is_dir() else ():
            is_aside = path.name.startswith(".damaged-")
            if path.name.startswith(".") and not is_aside:
                continue  # what is being written, or removed
            if folder == "logs" and not path.name.startswith("job-"):
                continue
            if path.lstat().st_mtime < before and (is_aside or not deletions.is_known(folder, path.name)):
                yield path
