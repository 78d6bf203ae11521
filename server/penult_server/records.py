"""What datasets, stores and messages all know: the names of labels, and what no name may look like."""

import re
from dataclasses import dataclass

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError

START_OF_ID = re.compile(r"[0-9a-f]{4,64}")
"""What is read as an id, or as the start of one."""


def check_no_id(name: str, what: str) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) for a name that might be the start of a digest, and hide that thing."""
    if START_OF_ID.fullmatch(name):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"the name of a {what} must not look like a digest, which has only the characters 0-9 and a-f, or like the "
            f"first 4 or more of one: it would stand for two things; got {name!r}, choose {name + '-'!r} or another",
            name=name,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """A spurious attribute: its name and, in order of their index, its values."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelNames:
    """How classes and attribute values are named; the order gives the indices."""

    classes: tuple[str, ...]
    attribute: str = ""
    """Empty when the examples carry no attribute; then every group is a class."""
    attribute_values: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    """Names of the sets of examples in the columns of the array `masks`; the sets may overlap."""
    classes_by_index: bool = False
    """Whether the classes have no names and are called by their index."""

    @property
    def n_attributes(self) -> int:
        """A, at least 1, so that g = y * n_attributes + a always holds."""
        return max(len(self.attribute_values), 1)

    @property
    def n_groups(self) -> int:
        """G = C * A."""
        return len(self.classes) * self.n_attributes
