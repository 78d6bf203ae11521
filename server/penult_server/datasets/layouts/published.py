"""Published group counts, and what a copy of a dataset has instead.

A full copy has exactly these counts; a difference is a note of the dataset, since parts of a dataset are legal. An
empty split or group is refused: a comparison of groups would silently miss one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_server.datasets.rows import SPLITS, Rows
from penult_server.datasets.tables.table import bad_table
from penult_server.errors import ServiceError
from penult_server.notes import Note

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """How many examples a dataset has, by its authors."""

    groups: dict[str, tuple[int, ...]]
    """Group counts of each split, in the order g = y * n_attributes + a."""
    totals: dict[str, int] = field(default_factory=dict)
    """Number of examples of each split whose group counts are not published."""

    def text(self, split: str) -> str:
        """The counts of a split for people."""
        groups = self.groups.get(split)
        return f"{self.totals[split]} in all" if groups is None else ", ".join(map(str, groups))


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedLayout:
    """A dataset as its owners distribute it. Its module has the name of the layout on the wire."""

    files: str
    """Files in the directory, for people."""
    groups: str
    """Class x attribute, and other particulars, for people."""
    published: Published
    read: Callable[[Path], Rows]
    """Reads the directory, or a file in it. Raises ServiceError: FILES_MISSING, BAD_TABLE, EMPTY_GROUP."""


def compared(rows: Rows, published: Published) -> Rows:
    """The rows with a note for each split whose counts are not the published ones; unchanged for a full copy.

    Raises ServiceError: BAD_TABLE for an empty split, EMPTY_GROUP.
    """
    notes: list[Note] = []
    names = rows.group_names()
    for split in SPLITS:
        counts = [int(count) for count in rows.group_counts(split)]
        _check_none_is_empty(split, names, counts)
        expected = published.groups.get(split)
        if expected is None:
            if sum(counts) != published.totals[split]:
                notes.append(unlike(f"{split}: {sum(counts)} examples, published {published.totals[split]}"))
        elif tuple(counts) != expected:
            notes.append(unlike(f"{split}: {_differences(names, counts, expected)}"))
    return replace(rows, notes=(*rows.notes, *notes))


def unlike(text: str) -> Note:
    """A note that a copy is not the published one."""
    return Note(NoteId.UNLIKE_PUBLISHED, text)


def locate(directory: Path, candidates: Sequence[str]) -> Path:
    """The first of some files or directories that exists. Raises ServiceError (FILES_MISSING), naming all."""
    for candidate in candidates:
        if (directory / candidate).exists():
            return directory / candidate
    raise ServiceError(
        ErrorKind.FILES_MISSING,
        f"{directory} holds none of: {', '.join(candidates)}; give the directory that the dataset was unpacked into",
        directory=directory,
    )


def directory_of(source: Path) -> Path:
    """The directory that was given, or that of the file that was given. Raises ServiceError (FILES_MISSING)."""
    if not source.exists():
        raise ServiceError(ErrorKind.FILES_MISSING, f"there is no {source} on the server's machine", directory=source)
    if source.suffix in _ARCHIVES:
        raise ServiceError(
            ErrorKind.FILES_MISSING,
            f"{source} is an archive; unpack it and give the directory that it was unpacked into",
            directory=source,
        )
    return source if source.is_dir() else source.parent


def _check_none_is_empty(split: str, names: list[str], counts: list[int]) -> None:
    if not any(counts):
        raise bad_table(
            f"no row is in the split {split!r}; list a partial copy in a table of its own (layout='table')", split=split
        )
    empty = [name for name, count in zip(names, counts, strict=True) if not count]
    if empty:
        raise ServiceError(
            ErrorKind.EMPTY_GROUP,
            f"the split {split!r} has no example of: {'; '.join(empty)}; list a partial copy in a table of its "
            "own (layout='table')",
            split=split,
            groups="; ".join(empty),
        )


def _differences(names: list[str], counts: list[int], expected: tuple[int, ...]) -> str:
    return "; ".join(
        f"{name} {count}, published {should}"
        for name, count, should in zip(names, counts, expected, strict=True)
        if count != should
    )
