"""Where every argument of a refit stands in its request, read off the descriptors.

The fields of `RefitRequest` are arguments, and so are those of its parts (`PARTS`), such as ``weights.gamma``; the kind
of a part is called by the part's own name, such as ``weights``. A number that is new in the ``.proto`` file is an
argument without another line here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from penult_proto.v1 import groups_pb2
from penult_proto.v1 import refits_pb2 as pb

PARTS = ("balance", "weights", "offset", "risk", "rows")
"""Messages whose fields are arguments themselves."""
KINDS = ("kind", "method")
"""Names of the field whose argument has the name of the part."""
RENAMED = {"feature_set": "features", "penalty_scale": "penalty", "scaling": "standardize"}
"""Arguments by their field, where the names differ."""
BY_VALUE = ("explicit", "row_ids")
"""Fields that an array given for the part itself fills."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A field of a refit request, or of one of its parts."""

    part: str
    """Empty for a field of the request itself."""
    field: FieldDescriptor

    def owner(self, request: pb.RefitRequest) -> Any:
        """The message that has the field."""
        return getattr(request, self.part) if self.part else request

    def value(self, request: pb.RefitRequest) -> Any:
        """What the field says; None where it says nothing."""
        owner, name = self.owner(request), self.field.name
        if self.field.has_presence:
            return getattr(owner, name) if owner.HasField(name) else None
        return getattr(owner, name) or None


def place_of(path: str) -> Place:
    """The place of a field that is named in full, such as ``weights.gamma``."""
    part, _, name = path.rpartition(".")
    message = pb.RefitRequest.DESCRIPTOR.fields_by_name[part].message_type if part else pb.RefitRequest.DESCRIPTOR
    if message is None:
        raise ValueError(f"{part} of a refit request is no message")
    return Place(part, message.fields_by_name[name])


def _places(parts: tuple[str, ...]) -> Iterator[tuple[str, Place]]:
    for field in pb.RefitRequest.DESCRIPTOR.fields:
        if field.name in parts and field.message_type is not None:
            for own in field.message_type.fields:
                yield field.name if own.name in KINDS else own.name, Place(field.name, own)
        else:
            yield RENAMED.get(field.name, field.name), Place("", field)


ARGUMENTS: Mapping[str, Place] = {name: place for name, place in _places(PARTS) if name not in BY_VALUE}
"""The place of each argument of the client's `refit`, by its name."""
GRID: Mapping[str, Place] = {
    name: place
    for name, place in _places((*PARTS, "path"))
    if place.field.GetOptions().Extensions[groups_pb2.on_grid]  # pyright: ignore[reportUnknownMemberType]
}
"""The numbers that a grid may vary, by name."""
