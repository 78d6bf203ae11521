"""Classes matched by their names: those of a head or of logits, and those of labels.

The same names in another order are permuted exactly; other names are refused, unless a mapping says which stand for
which. Classes without names are matched by their index.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import asarray_like
from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_server.errors import ServiceError
from penult_server.notes import Note

MOST_LISTED = 20
"""Most names in one message."""
NO_NAMES: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """C classes in the order of their index."""

    names: tuple[str, ...]
    whose: str
    """What has these classes, such as "checkpoint 1a2b3c"; for messages."""
    by_index: bool = False
    """Whether the classes have no names and are called by their index."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Match:
    """The index of each class of the labels among the known classes."""

    order: NDArray[np.int64]
    """(C,) for each class of the labels, its index among the known ones."""
    notes: tuple[Note, ...] = field(default=())

    @property
    def is_same(self) -> bool:
        """Whether both have one order."""
        return bool(np.array_equal(self.order, np.arange(self.order.size)))

    def rows(self, of_known: NDArray[Any]) -> NDArray[Any]:
        """A host array with one row for each known class, (C, ...), in the order of the labels."""
        return of_known if self.is_same else of_known[self.order]

    def columns(self, logits: Any) -> Any:
        """(N, C) logits of the known classes, wherever they lie, in the order of the labels."""
        return logits if self.is_same else logits[:, asarray_like(self.order, logits)]


def match_classes(known: Classes, labels: Classes, class_map: Mapping[str, str] = NO_NAMES) -> Match:
    """Match by name; by index, with a note, where either side has no names and nothing is mapped.

    Parameters
    ----------
    known : classes of a head, or of a model's logits.
    labels : classes of the feature set or dataset whose labels they are matched with.
    class_map : from names of `known` to those of `labels`; a name that it leaves out stands for itself. Classes without
        names are called by their index in it.

    Raises
    ------
    ServiceError : OTHER_CLASSES for other names, or a mapping of or to classes that are not there; WRONG_SHAPE for
        another number of classes without names.
    """
    if not class_map and (known.by_index or labels.by_index):
        return _by_index(known, labels)
    _check_mapping(known, labels, class_map)
    named = tuple(class_map.get(name, name) for name in known.names)
    if named == known.names == labels.names:
        return Match(order=np.arange(len(named)))
    place = {name: index for index, name in enumerate(named)}
    if len(place) != len(named) or sorted(named) != sorted(labels.names):
        raise ServiceError(
            ErrorKind.OTHER_CLASSES,
            f"{known.whose} knows the classes {_listed(named, labels.names)}, {labels.whose} has "
            f"{_listed(labels.names, named)}{' (after class_map)' if class_map else ''}; if classes of other names "
            'stand for each other one to one, say which: class_map={"name there": "name here"}',
        )
    order = np.array([place[name] for name in labels.names], dtype=np.int64)
    return Match(order=order, notes=(_mapped(known, labels, class_map),))


def _by_index(known: Classes, labels: Classes) -> Match:
    if len(known.names) != len(labels.names):
        raise ServiceError(
            ErrorKind.WRONG_SHAPE,
            f"{known.whose} has {len(known.names)} classes, {labels.whose} has {len(labels.names)}, and without names "
            "they are matched by their index; give both the same classes=[...], also those without an example",
        )
    unnamed = known if known.by_index else labels
    text = f"the classes of {unnamed.whose} have no names and were matched by their index; name them with classes=[...]"
    return Match(order=np.arange(len(known.names)), notes=(Note(NoteId.CLASSES_BY_COUNT, text),))


def _check_mapping(known: Classes, labels: Classes, class_map: Mapping[str, str]) -> None:
    for what, side, given in (("from", known, list(class_map)), ("to", labels, list(class_map.values()))):
        missing = [name for name in given if name not in side.names]
        if missing:
            raise ServiceError(
                ErrorKind.OTHER_CLASSES,
                f"class_map maps {what} {_listed(missing)}, which {side.whose} does not have; it has "
                f"{_listed(side.names)}",
                field="class_map",
            )


def _mapped(known: Classes, labels: Classes, class_map: Mapping[str, str]) -> Note:
    if class_map:
        pairs = [f"{name} -> {class_map[name]}" for name in known.names if name in class_map]
        text = f"classes of {known.whose} were taken for those of {labels.whose} by class_map: {_listed(pairs)}"
    else:
        text = (
            f"the classes of {known.whose} ({_listed(known.names)}) were put in the order of {labels.whose} "
            f"({_listed(labels.names)})"
        )
    return Note(NoteId.CLASSES_MAPPED, text)


def _listed(names: Sequence[str], others: Sequence[str] = ()) -> str:
    """All names, or the first of many, those that are missing in `others` before the rest."""
    if len(names) <= MOST_LISTED:
        return ", ".join(names)
    shared = set(others)
    first = sorted(names, key=lambda name: name in shared)[:MOST_LISTED]
    return f"{', '.join(first)} and {len(names) - MOST_LISTED} more"
