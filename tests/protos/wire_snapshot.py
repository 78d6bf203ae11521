"""What a release fixes: every field, value and method of the wire, as text that can be compared.

``python tests/protos/wire_snapshot.py`` writes the file that `test_released_wire` compares with: to be run when a
release is made, and never to let a change pass.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor

import penult_proto.v1

RELEASED = Path(__file__).parent / "released_wire.txt"
PRIVATE = ("penult_proto/v1/pipes.proto",)
"""Files that only one version ever reads."""


def wire() -> list[str]:
    """A line for every field, value and method, sorted."""
    lines: list[str] = []
    for file in files():
        for message in file.message_types_by_name.values():
            lines += of_message(message)
        for enum in file.enum_types_by_name.values():
            lines += of_enum(enum)
        for service in file.services_by_name.values():
            for method in service.methods:
                ways = f"{_stream(method.client_streaming)}{method.input_type.full_name}", method.output_type.full_name
                lines.append(
                    f"{service.full_name}.{method.name}: {ways[0]} -> {_stream(method.server_streaming)}{ways[1]}"
                )
    return sorted(lines)


def files() -> Iterator[FileDescriptor]:
    """Every public file of the wire."""
    for module in pkgutil.iter_modules(penult_proto.v1.__path__):
        if module.name.endswith("_pb2"):
            file = importlib.import_module(f"penult_proto.v1.{module.name}").DESCRIPTOR
            if file.name not in PRIVATE:
                yield file


def of_message(message: Descriptor) -> list[str]:
    """The fields of a message and of those within it."""
    lines = [f"{field.containing_type.full_name} {field.number}: {of_field(field)}" for field in message.fields]
    for inner in message.nested_types:
        lines += of_message(inner)
    for enum in message.enum_types:
        lines += of_enum(enum)
    return lines


def of_field(field: FieldDescriptor) -> str:
    """Name and type of a field."""
    scalar = next(name for name in dir(field) if name.startswith("TYPE_") and getattr(field, name) == field.type)
    kind = next((one.full_name for one in (field.message_type, field.enum_type) if one is not None), scalar)
    oneof = f" of {field.containing_oneof.name}" if field.containing_oneof is not None else ""
    return f"{'repeated ' if field.is_repeated else ''}{kind} {field.name}{oneof}"


def of_enum(enum: EnumDescriptor) -> list[str]:
    """The values of an enumeration."""
    return [f"{enum.full_name} {value.number}: {value.name}" for value in enum.values]


def _stream(streams: bool) -> str:
    return "stream " if streams else ""


if __name__ == "__main__":
    RELEASED.write_text("\n".join(wire()) + "\n", encoding="utf-8")
