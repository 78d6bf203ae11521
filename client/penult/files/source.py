"""What a file of arrays is once it is open, and how one that cannot be used is refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penult.errors import InvalidRequest, invalid, shown
from penult.files.rows import Rows
from penult_proto.errors import ErrorKind

DESCRIPTION = "penult.json"
"""Member, file or key that holds the description of a feature set that penult has exported."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """Arrays by name, none of them read yet."""

    place: Path
    arrays: Mapping[str, Rows]
    description: Mapping[str, Any] | None = None
    """What penult wrote beside the arrays; None for a file of others."""
    remarks: tuple[str, ...] = field(default=())
    """What was read how, where that is not obvious."""


def refused(place: Path, what: str, mend: str, kind: ErrorKind = ErrorKind.INVALID_ARGUMENT) -> InvalidRequest:
    """The error for a file that cannot be used, with what to do."""
    return invalid(f"{place}: {what}; {mend}", kind, argument="path")


def no_objects(place: Path, name: str) -> InvalidRequest:
    """The refusal of an array of Python objects, which only a pickle can hold."""
    return refused(
        place,
        f"the array {shown(name)} holds Python objects, which are stored as a pickle and could run any code",
        f"save it as numbers or text, such as np.savez(..., {name}=np.asarray({name}.tolist()))",
        ErrorKind.WRONG_DTYPE,
    )
