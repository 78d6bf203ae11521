"""Nearly valid messages: a valid one, a few of its fields changed as its descriptor allows.

What is drawn for a field depends on its type, so that a new field is drawn by itself; the names of things that exist,
and bounds on work that would be legitimate but long, are told by the fields' names.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

from penult_proto.v1 import arrays_pb2, features_pb2

Path = tuple[FieldDescriptor, ...]
ARRAY = arrays_pb2.Array.DESCRIPTOR.full_name
DTYPES = {
    arrays_pb2.DTYPE_FLOAT16: "<f2",
    arrays_pb2.DTYPE_FLOAT32: "<f4",
    arrays_pb2.DTYPE_FLOAT64: "<f8",
    arrays_pb2.DTYPE_INT64: "<i8",
    arrays_pb2.DTYPE_UINT64: "<u8",
    arrays_pb2.DTYPE_BOOL: "|u1",
}
STRANGE_TEXTS = ("", " ", "0", "1", "-1", "half", "\0", "a\nb", "é", "٣", "😀" * 3, "9" * 5000, "../x", "/etc/passwd")
STRANGE_TEXTS += ("/", "/nowhere/at/all", "*", "%s", "x" * 70, "NaN", "'; --", "CON", "0" * 64)
REALS = (0.0, -0.0, 1.0, -1.0, 0.5, 0.95, 2.0, 10.0, 1e-3, 1e-300, 5e-324, 1e308, math.inf, -math.inf, math.nan)
WHOLES = (0, 1, 2, 3, 4, 5, 7, 24, -1, -2, 10**6 + 1, 2**31 - 1, -(2**31), 2**32, 2**62, 2**63 - 1, -(2**63), 2**64 - 1)
SHAPES = ([-1], [2**32, 2**32], [2**62, 4], [2**63 - 1], [0, 2**62], [1] * 70, [-2, -3], [0])
RANGES = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
}
SMALL = {"replicates": 40, "steps": 20, "epochs": 2, "repeats": 3, "max_iterations": 50}
"""Fields whose larger values, up to the server's own limit, ask for work that takes long by right."""


@dataclass(frozen=True)
class Vocabulary:
    """Texts that mean something to the server, by the name of the field that they belong in."""

    texts: Mapping[str, Sequence[str]]

    def of(self, name: str) -> st.SearchStrategy[str]:
        """Texts for a field."""
        everything = [text for texts in self.texts.values() for text in texts]
        strange = st.one_of(st.sampled_from(STRANGE_TEXTS), st.sampled_from(everything).map(lambda text: text[:8]))
        fitting = st.sampled_from(self.texts.get(name) or everything)
        return st.one_of(fitting, fitting, st.sampled_from(everything), strange, st.text(max_size=12))


def slots(descriptor: Descriptor, above: Path = ()) -> list[Path]:
    """Every field that a message can have, with the fields that lead to it."""
    found: list[Path] = []
    for field in descriptor.fields:
        path = (*above, field)
        found.append(path)
        is_inside = any(one.message_type is field.message_type for one in above)
        if field.message_type is not None and not is_map(field) and not is_inside:
            found.extend(slots(field.message_type, path))
    return found


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def scalar(field: FieldDescriptor, vocabulary: Vocabulary) -> st.SearchStrategy[Any]:
    """Values of one field that is no message."""
    match field.type:
        case FieldDescriptor.TYPE_BOOL:
            return st.booleans()
        case FieldDescriptor.TYPE_ENUM:
            return st.sampled_from([*(value.number for value in field.enum_type.values), 77, -1])
        case FieldDescriptor.TYPE_STRING:
            return vocabulary.of(field.name)
        case FieldDescriptor.TYPE_BYTES:
            return st.one_of(st.binary(max_size=24), st.sampled_from(REALS).map(lambda one: struct.pack("<d", one) * 8))
        case FieldDescriptor.TYPE_DOUBLE | FieldDescriptor.TYPE_FLOAT:
            return st.one_of(st.sampled_from(REALS), st.floats(0, 2))
        case _:
            low, high = RANGES[field.type]
            most = SMALL.get(field.name, 10**6)
            wholes = [one for one in WHOLES if low <= one <= high and not most < one <= 10**6]
            return st.one_of(st.sampled_from(wholes), st.integers(max(low, -2), min(9, most)))


@st.composite
def arrays(draw: st.DrawFn, given: arrays_pb2.Array) -> arrays_pb2.Array:
    """An array; mostly like the given one in type and shape."""
    dtype = given.dtype if given.dtype in DTYPES and draw(st.booleans()) else draw(st.sampled_from(list(DTYPES)))
    sides = list(given.shape) if given.shape and draw(st.booleans()) else draw(st.lists(st.integers(0, 4), max_size=3))
    numpy_dtype = np.dtype(DTYPES[dtype])
    size = math.prod(sides)
    if not 0 <= size <= 10_000:
        sides, size = [2], 2
    numbers = st.sampled_from(REALS) if numpy_dtype.kind == "f" else st.integers(0, 3)
    values = draw(st.lists(numbers, min_size=1, max_size=6))
    with np.errstate(over="ignore"):
        content = np.resize(np.asarray(values), size).astype(numpy_dtype).tobytes()
    if draw(st.integers(0, 4)) == 0:
        sides = draw(st.sampled_from(SHAPES))
        content = draw(st.sampled_from([b"", content]))
    return arrays_pb2.Array(dtype=dtype, shape=sides, data=content)


def change(draw: st.DrawFn, message: Message, vocabulary: Vocabulary) -> None:
    """Change one of the fields that a message can have, wherever it is; mostly of what is there."""
    everything = slots(message.DESCRIPTOR)
    present = [path for path in everything if _is_there(message, path[:-1])]
    *above, field = draw(st.sampled_from(present if draw(st.integers(0, 3)) else everything))
    for step in above:
        inner = getattr(message, step.name)
        if step.is_repeated:
            message = draw(st.sampled_from(list(inner))) if inner else inner.add()
        else:
            inner.SetInParent()
            message = inner
    if is_map(field):
        _change_map(draw, message, field, vocabulary)
    elif field.is_repeated:
        _change_list(draw, message, field, vocabulary)
    elif draw(st.integers(0, 5)) == 0:
        message.ClearField(field.name)
    elif field.message_type is None:
        setattr(message, field.name, draw(scalar(field, vocabulary)))
    elif field.message_type.full_name == ARRAY:
        getattr(message, field.name).CopyFrom(draw(arrays(getattr(message, field.name))))
    else:
        getattr(message, field.name).SetInParent()


def _is_there(message: Message, path: Path) -> bool:
    for step in path:
        if not (getattr(message, step.name) if step.is_repeated else message.HasField(step.name)):
            return False
        message = getattr(message, step.name)[0] if step.is_repeated else getattr(message, step.name)
    return True


def _change_map(draw: st.DrawFn, message: Message, field: FieldDescriptor, vocabulary: Vocabulary) -> None:
    key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
    if value.message_type is not None:
        raise NotImplementedError(f"no strategy for maps to messages: {field.full_name}")
    getattr(message, field.name)[draw(scalar(key, vocabulary))] = draw(
        vocabulary.of("feature_set") if value.type == FieldDescriptor.TYPE_STRING else scalar(value, vocabulary)
    )


def _change_list(draw: st.DrawFn, message: Message, field: FieldDescriptor, vocabulary: Vocabulary) -> None:
    """Add, repeat, drop or replace elements."""
    elements = list(getattr(message, field.name))
    what = draw(st.sampled_from(["clear", "add", "repeat", "drop", "replace", "reverse"]))
    new = draw(scalar(field, vocabulary)) if field.message_type is None else field.message_type._concrete_class()
    match what:
        case "clear":
            elements = []
        case "add":
            elements.append(new)
        case "repeat":
            elements += elements[:1]
        case "drop":
            del elements[:1]
        case "replace":
            elements = [new, *elements[1:]]
        case _:
            elements.reverse()
    copies = [element if field.message_type is None else element.SerializeToString() for element in elements]
    message.ClearField(field.name)
    for copy in copies:
        if field.message_type is None:
            getattr(message, field.name).append(copy)
        else:
            getattr(message, field.name).add().ParseFromString(copy)


@st.composite
def nearly(draw: st.DrawFn, seeds: Sequence[Message], vocabulary: Vocabulary) -> Message:
    """One of the messages with no, one, two or three fields changed."""
    seed = draw(st.sampled_from(seeds))
    message = type(seed)()
    message.CopyFrom(seed)
    if slots(message.DESCRIPTOR):
        for _ in range(draw(st.sampled_from([1, 1, 1, 2, 2, 3, 0]))):
            change(draw, message, vocabulary)
    return message


@st.composite
def nearly_upload(draw: st.DrawFn, seeds: Sequence[Sequence[Any]], vocabulary: Vocabulary) -> list[Any]:
    """The messages of an upload, one or two of them changed, lost, repeated, in another order or cut."""
    messages: list[Any] = []
    for seed in draw(st.sampled_from(seeds)):
        message = type(seed)()
        message.CopyFrom(seed)
        messages.append(message)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 0]))):
        if not messages:
            messages.append(type(seeds[0][0])())
        at = draw(st.integers(0, max(len(messages) - 1, 0)))
        what = draw(st.sampled_from(["change", "change", "header", "values", "lose", "repeat", "swap", "cut", "more"]))
        _spoil(draw, messages, at, what, vocabulary)
    return messages


def _spoil(draw: st.DrawFn, messages: list[Any], at: int, what: str, vocabulary: Vocabulary) -> None:
    # Pieces of arrays stand in a message of their own, those of files in the request.
    chunk = messages[at].chunk if isinstance(messages[at], features_pb2.UploadFeaturesRequest) else messages[at]
    match what:
        case "change":
            change(draw, messages[at], vocabulary)
        case "header":
            change(draw, messages[0], vocabulary)
        case "values" if chunk.data:
            value = draw(st.sampled_from([b"\xff" * 8, struct.pack("<q", 10**9), struct.pack("<f", math.nan) * 2]))
            start = draw(st.integers(0, len(chunk.data) // 8)) * 8
            chunk.data = (chunk.data[:start] + value + chunk.data[start + 8 :])[: len(chunk.data)]
        case "lose":
            del messages[at]
        case "repeat":
            messages.insert(at, messages[at])
        case "swap":
            messages[at], messages[-1] = messages[-1], messages[at]
        case "cut":
            chunk.data = chunk.data[: draw(st.integers(0, 16))]
        case _:
            chunk.data += draw(st.sampled_from([b"\0", b"\0" * 8, b"\0" * 4096]))
