"""What a disk may hold after the power went, from a record of what was written and flushed.

The rules are those of POSIX, without what a file system adds to them: the bytes of a file are there when the file was
flushed; a name is there, or gone, when its directory was flushed, even where the file was. Names that were not flushed
are kept up to any of them, in their order, or for one directory alone, or for all but one. Bytes that were not flushed
are missing, zeros, cut in half, or there. A commit of SQLite is one step and is flushed (`synchronous=FULL`).
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from penult_server.stores.disk.durable import STAGING_PREFIX
from penult_server.stores.removal import FOLDERS

VARIANTS = ("missing", "zeros", "half", "there")
SWEPT = ("", "uploads", *FOLDERS)
"""Folders in which a start removes what writers have left: there it makes no difference."""


@dataclass(eq=False)
class Node:
    """A file or directory, as programs see it and as it is flushed."""

    is_directory: bool
    content: bytes = b""
    flushed: bytes | None = None
    """Bytes on the disk; None for a file that was never flushed."""
    names: dict[str, "Node"] = field(default_factory=dict)
    flushed_names: dict[str, "Node"] = field(default_factory=dict)

    def bytes_after(self, variant: str) -> bytes:
        """What a power cut leaves."""
        if self.flushed == self.content:
            return self.content
        return _left(self.flushed or b"", self.content, variant)


@cache
def _left(flushed: bytes, content: bytes, variant: str) -> bytes:
    match variant:
        case "missing":
            return flushed
        case "zeros":
            return bytes(len(content))
        case "half":
            return content[: len(content) // 2]
        case _:
            return content


class Digests:
    """Digests of contents, each computed once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[bytes, bytes]] = {}

    def of(self, content: bytes) -> bytes:
        known = self._known.get(id(content))
        if known is None or known[0] is not content:
            known = self._known[id(content)] = (content, hashlib.blake2b(content).digest())
        return known[1]


Change = tuple[Node, str, Node | None]
"""A name in a directory, and what it stands for; None for nothing."""


@dataclass(frozen=True)
class State:
    """What a disk may hold, and what had been told by then."""

    files: dict[str, bytes]
    directories: tuple[str, ...]
    told: tuple[str, ...]
    why: str

    def key(self, digests: Digests) -> bytes:
        """Equal for equal states."""
        content = [(path, digests.of(one)) for path, one in sorted(self.files.items())]
        return hashlib.blake2b(repr((content, self.directories, self.told)).encode()).digest()

    def write(self, root: Path) -> None:
        """Make it."""
        for one in self.directories:
            (root / one).mkdir(parents=True, exist_ok=True)
        for path, content in self.files.items():
            (root / path).write_bytes(content)


class Replay:
    """A disk to which the steps of a record are done, one after the other."""

    def __init__(self, root: Path) -> None:
        """`root` is what was there before, all of it flushed."""
        self.root = _loaded(root)
        self.pending: list[list[Change]] = []
        self.told: list[str] = []
        self.count = 0
        """Of power cuts so far, each with what it may leave."""

    def states(self, steps: Sequence[tuple[Any, ...]]) -> Iterator[State]:
        """Every different state that a power cut before, between or after the steps may leave."""
        seen: set[bytes] = set()
        digests = Digests()
        for number, step in enumerate(steps):
            is_local = self._do(step)
            self.count += len(VARIANTS) * (len(self.pending) + 1)
            if is_local:
                continue
            for why, changes in self._choices(step[0]):
                for variant in VARIANTS:
                    text = f"after step {number} ({step[0]} {str(step[1])[:90]}), {why}, bytes {variant}"
                    state = self._state(changes, variant, text)
                    if (key := state.key(digests)) not in seen:
                        seen.add(key)
                        yield state

    def _choices(self, kind: str) -> Iterator[tuple[str, list[list[Change]]]]:
        """Which of the names that were not flushed are there."""
        n = len(self.pending)
        # A step that only adds a name adds one state: those with fewer names are the last step's.
        adds_a_name = kind in ("create", "mkdir", "rename", "unlink", "rmdir", "link")
        for kept in range(n if adds_a_name else 0, n + 1):
            yield f"{kept} of {n} names", self.pending[:kept]
        directories = {id(change[0]): change[0] for changes in self.pending for change in changes}
        for one in directories.values() if len(directories) > 1 else ():
            own = [[change for change in changes if change[0] is one] for changes in self.pending]
            rest = [[change for change in changes if change[0] is not one] for changes in self.pending]
            yield "names of one directory", own
            yield "names of all directories but one", rest

    def _do(self, step: tuple[Any, ...]) -> bool:
        """Do a step; whether it is within something that nobody sees yet."""
        kind, place, *details = step
        if kind == "ack":
            self.told.append(place)
            return False
        if kind == "commit":
            database = self.root.names["penult.db"]
            database.content = database.flushed = details[0]
            return False
        parent, name = self._parent(place)
        match kind:
            case "create":
                node = parent.names.get(name)
                if node is None:
                    self._change((parent, name, Node(is_directory=False)))
                elif "w" in details[0]:
                    node.content = b""
            case "write":
                at, content = details
                node = parent.names[name]
                node.content = node.content[:at].ljust(at, b"\0") + content + node.content[at + len(content) :]
            case "mkdir":
                self._change((parent, name, Node(is_directory=True)))
            case "unlink" | "rmdir":
                self._change((parent, name, None))
            case "rename" | "link":
                target, new = self._parent(details[0])
                moved: list[Change] = [(target, new, parent.names[name])]
                self._change(*([(parent, name, None)] if kind == "rename" else []), *moved)
            case "fsync":
                self._flush(self._node(place))
            case _:
                raise AssertionError(f"unknown step {kind}")
        return kind in ("create", "write", "mkdir", "fsync", "link", "unlink", "rmdir") and _is_swept(
            place, within=True
        )

    def _change(self, *changes: Change) -> None:
        for directory, name, node in changes:
            directory.names.pop(name, None)
            if node:
                directory.names[name] = node
        self.pending.append(list(changes))

    def _flush(self, node: Node) -> None:
        node.flushed = node.content
        node.flushed_names = dict(node.names)
        left = [[change for change in changes if change[0] is not node] for changes in self.pending]
        self.pending = [changes for changes in left if changes]

    def _state(self, changes: list[list[Change]], variant: str, why: str) -> State:
        overlay: dict[int, dict[str, Node | None]] = {}
        for directory, name, node in (change for one in changes for change in one):
            overlay.setdefault(id(directory), {})[name] = node
        files: dict[str, bytes] = {}
        directories: list[str] = []

        def walk(node: Node, place: str) -> None:
            for name, child in sorted({**node.flushed_names, **overlay.get(id(node), {})}.items()):
                path = f"{place}{name}"
                if child is None or _is_swept(path, within=False):
                    continue
                if child.is_directory:
                    directories.append(path)
                    walk(child, f"{path}/")
                else:
                    files[path] = child.bytes_after(variant)

        walk(self.root, "")
        return State(files, tuple(directories), tuple(self.told), why)

    def _parent(self, place: str) -> tuple[Node, str]:
        path = PurePosixPath(place)
        return self._node(str(path.parent)), path.name

    def _node(self, place: str) -> Node:
        node = self.root
        for part in PurePosixPath(place).parts:
            node = node.names[part]
        return node


def _is_swept(place: str, *, within: bool) -> bool:
    """Whether a place is one that a start removes, or is within one."""
    parts = PurePosixPath(place).parts
    folders = [str(PurePosixPath(*parts[:n])) if n else "" for n in range(len(parts))]
    swept = [part.startswith(STAGING_PREFIX) and folder in SWEPT for part, folder in zip(parts, folders, strict=True)]
    return any(swept) if within else bool(swept and swept[-1])


def _loaded(path: Path) -> Node:
    if path.is_file():
        content = path.read_bytes()
        return Node(is_directory=False, content=content, flushed=content)
    names = {one.name: _loaded(one) for one in path.iterdir()}
    return Node(is_directory=True, flushed=b"", names=names, flushed_names=dict(names))
