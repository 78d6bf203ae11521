"""What a pickle of PyTorch says about tensors, read without making an object of anything else.

A pickle is a program for a machine with a stack, one of whose instructions is to call any function of any module. This
reader is such a machine that calls nothing: a function or class is a `Name`, what a call would have made is a
`Foreign`, and a tensor is a `StoredTensor`, that is where its values lie. Nothing is imported, and no method of a value
that comes from the file is called.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# The values of a pickle have no types.

import math
import pickletools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Any

MOST_STEPS = 2_000_000
"""Most instructions of one pickle; a tensor takes about 45."""
MOST_SIDES = 32
"""Most dimensions of a tensor."""
MOST_KINDS = 20
"""Most kinds of other objects that are remembered."""

_HARMLESS = frozenset(
    {
        "__builtin__.set",
        "_codecs.encode",
        "builtins.bytearray",
        "builtins.set",
        "collections.Counter",
        "torch.Size",
        "torch.device",
        "torch.nn.parameter.Parameter",
    }
)
"""Beside tensors and their types, what files of tensors alone hold."""
_VALUES = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    }
)
"""Instructions that push the value beside them."""
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_MARK = object()


class UnreadableError(Exception):
    """The bytes are no pickle, or none that this reader follows; the message says why."""


@dataclass(frozen=True, slots=True)
class Name:
    """A function or class that a pickle names."""

    path: str


@dataclass(slots=True, eq=False)
class Foreign:
    """An object of another kind than tensors; nothing of it is there but its kind."""

    kind: str
    is_module: bool = False
    """Whether it is a whole module of PyTorch."""


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """Values in a row, somewhere in the file."""

    kind: str
    """Name of the storage's class, such as "FloatStorage"."""
    key: str
    n_values: int
    first: int = 0
    """Index of its first value in the storage of that key, of which it is a part."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredTensor:
    """A tensor as a view of a storage, within its bounds, with at most as many values as the storage has."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class PickleReader:
    """Follows pickles; several of one file may share it."""

    def __init__(self) -> None:
        self.foreign: dict[str, None] = {}
        """Kinds of the other objects, in the order in which they came."""
        self.storages: dict[str, str] = {}
        """Class of each storage by its key."""
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._steps = 0

    def read(self, stream: IO[bytes]) -> Any:
        """The value of the pickle that the stream stands before; the stream then stands behind it.

        Raises UnreadableError.
        """
        self._stack, self._memo = [], {}
        try:
            with warnings.catch_warnings():
                # Texts of the oldest format may hold what Python no longer likes in its own.
                warnings.simplefilter("ignore", DeprecationWarning)
                for instruction, argument, _ in pickletools.genops(stream):
                    self._steps += 1
                    if self._steps > MOST_STEPS:
                        raise UnreadableError(f"its pickle has more than {MOST_STEPS} instructions")
                    if instruction.name == "STOP":
                        return self._stack.pop()
                    self._follow(instruction.name, argument)
        except UnreadableError:
            raise
        # What genops and a stack raise for bytes that are no pickle.
        except (ValueError, LookupError, TypeError, AttributeError, EOFError, OverflowError, RecursionError) as error:
            raise UnreadableError(f"its pickle is damaged ({type(error).__name__}: {str(error)[:200]})") from error
        raise UnreadableError("its pickle has no end")

    def _follow(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name not in _INSTRUCTIONS:
            raise UnreadableError(f"its pickle has the instruction {name}, which no file of tensors needs")
        else:
            _INSTRUCTIONS[name](self, argument)

    def nothing(self, _: Any) -> None:
        """Instructions for the reader's buffers."""

    def push_mark(self, _: Any) -> None:
        self._stack.append(_MARK)

    def pop(self, _: Any) -> None:
        self._stack.pop()

    def pop_mark(self, _: Any) -> None:
        self._marked()

    def duplicate(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def push_list(self, _: Any) -> None:
        self._stack.append([])

    def push_dict(self, _: Any) -> None:
        self._stack.append({})

    def push_set(self, _: Any) -> None:
        # Members of sets would have to be hashed, which tuples within tuples make endless.
        self._stack.append(Foreign("builtins.set"))

    def make_set(self, _: Any) -> None:
        self._marked()
        self._stack.append(Foreign("builtins.frozenset"))

    def make_tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._marked()))

    def make_list(self, _: Any) -> None:
        self._stack.append(self._marked())

    def make_dict(self, _: Any) -> None:
        members = self._marked()
        self._stack.append({})
        self._set_items(members)

    def tuple_of(self, count: int) -> None:
        members = self._top(count)
        self._stack.append(tuple(members))

    def append(self, _: Any) -> None:
        self._extend(self._top(1))

    def extend(self, _: Any) -> None:
        self._extend(self._marked())

    def add(self, _: Any) -> None:
        self._marked()

    def set_item(self, _: Any) -> None:
        self._set_items(self._top(2))

    def set_items(self, _: Any) -> None:
        self._set_items(self._marked())

    def put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def name(self, argument: str) -> None:
        module, _, path = argument.partition(" ")
        self._stack.append(self._named(module, path))

    def name_of_stack(self, _: Any) -> None:
        module, path = self._top(2)
        self._stack.append(self._named(_text(module), _text(path)))

    def call(self, _: Any) -> None:
        function, arguments = self._top(2)
        self._stack.append(self._called(function, arguments))

    def make_object(self, _: Any) -> None:
        kind, _arguments = self._top(2)
        self._stack.append(_made_of(kind))

    def make_object_with_keywords(self, _: Any) -> None:
        kind, _arguments, _keywords = self._top(3)
        self._stack.append(_made_of(kind))

    def make_named(self, argument: str) -> None:
        self._marked()
        self._stack.append(_made_of(self._named(*argument.split(" ", 1))))

    def make_marked(self, _: Any) -> None:
        self._stack.append(_made_of(self._marked()[0]))

    def build(self, _: Any) -> None:
        """The state of an object: all that is looked at is whether it is a module's."""
        (state,) = self._top(1)
        made = self._stack[-1]
        if isinstance(made, Foreign) and isinstance(state, dict) and "_parameters" in state and "_modules" in state:
            made.is_module = True

    def persistent(self, _: Any) -> None:
        (found,) = self._top(1)
        storage = _storage(found)
        self.storages[storage.key] = storage.kind
        self._stack.append(storage)

    def _named(self, module: str, path: str) -> Name:
        name = f"{module}.{path}"
        known = name in _CONSTRUCTORS or name in _HARMLESS or _is_type_of_torch(name)
        if not known and len(self.foreign) < MOST_KINDS:
            self.foreign[name[:200]] = None
        return Name(name)

    def _called(self, function: Any, arguments: Any) -> Any:
        if isinstance(function, Name) and function.path in _CONSTRUCTORS:
            if not isinstance(arguments, tuple):
                raise UnreadableError("its pickle calls a function without arguments")
            return _CONSTRUCTORS[function.path](arguments)
        return _made_of(function)

    def _top(self, count: int) -> list[Any]:
        """The last `count` values, taken off. Raises IndexError when there are fewer above the last mark."""
        taken = [self._stack.pop() for _ in range(count)]
        if any(one is _MARK for one in taken):
            raise IndexError("a mark where a value was expected")
        return taken[::-1]

    def _marked(self) -> list[Any]:
        """The values above the last mark; both are taken off."""
        members: list[Any] = []
        while (one := self._stack.pop()) is not _MARK:
            members.append(one)
        return members[::-1]

    def _extend(self, members: Sequence[Any]) -> None:
        if isinstance(self._stack[-1], list):
            self._stack[-1].extend(members)

    def _set_items(self, members: Sequence[Any]) -> None:
        if len(members) % 2:
            raise UnreadableError("its pickle has a key without a value")
        if isinstance(self._stack[-1], dict):
            for key, value in zip(members[::2], members[1::2], strict=True):
                # Only plain keys: others would have to be hashed and compared.
                self._stack[-1][key if isinstance(key, str | int | float | bytes) else f"<{type(key).__name__}>"] = (
                    value
                )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise UnreadableError("its pickle names a function by something else than text")
    return value


def _made_of(kind: Any) -> Foreign:
    """What a call of a function, or an instance of a class, would have been."""
    if isinstance(kind, Name):
        return Foreign(kind.path)
    return Foreign(kind.kind if isinstance(kind, Foreign) else type(kind).__name__)


def _is_type_of_torch(name: str) -> bool:
    """Whether a name is a class of storages, or a type of values such as torch.float32."""
    module, _, last = name.rpartition(".")
    if module in ("torch", "torch.storage") and last.endswith("Storage"):
        return True
    return module == "torch" and last.rstrip("0123456789") in ("float", "bfloat", "int", "uint", "bool", "complex")


def _storage(found: Any) -> Storage:
    """What an id of PyTorch names: ("storage", class, key, place, number of values), and in old files a part of it."""
    match found:
        case ("storage", Name(path), str(key), _, int(n_values)) if n_values >= 0:
            return Storage(path.rpartition(".")[2], key, n_values)
        case ("storage", Name(path), str(key), _, int(n_values), None) if n_values >= 0:
            return Storage(path.rpartition(".")[2], key, n_values)
        case ("storage", Name(path), str(key), _, int(n_values), (str(), int(first), int(size))):
            if 0 <= first <= first + size <= n_values:
                return Storage(path.rpartition(".")[2], key, size, first)
        case _:
            pass
    raise UnreadableError("its pickle refers to something else than the values of tensors")


def _tensor(arguments: tuple[Any, ...]) -> Any:
    """A tensor of a storage, an offset, sizes and strides; what follows does not change its values."""
    if len(arguments) < 4:
        raise UnreadableError("a tensor without its shape")
    storage, offset, size, stride = arguments[:4]
    if isinstance(storage, Foreign):
        return storage
    numbers = (offset, *size, *stride) if isinstance(size, tuple) and isinstance(stride, tuple) else (None,)
    if not isinstance(storage, Storage) or not all(type(one) is int and one >= 0 for one in numbers):
        raise UnreadableError("a tensor whose shape is no row of numbers")
    if len(size) != len(stride) or len(size) > MOST_SIDES:
        raise UnreadableError(f"a tensor with {len(size)} sides and {len(stride)} strides")
    n_values = math.prod(size)
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True)) if n_values else 0
    if n_values > storage.n_values or (n_values and last >= storage.n_values):
        shown = " x ".join(str(side)[:20] for side in size)
        raise UnreadableError(f"a tensor of {shown} values where the file has {storage.n_values}")
    return StoredTensor(storage, offset, size, stride)


def _parameter(arguments: tuple[Any, ...]) -> Any:
    """The tensor of a parameter."""
    return arguments[0] if arguments else None


def _of_type(arguments: tuple[Any, ...]) -> Any:
    """A tensor with attributes of its own, or of a class of its own: the tensor."""
    match arguments:
        case (Name("torch._utils._rebuild_tensor_v2"), _, tuple() as inner, *_):
            return _tensor(inner)
        case (Name("torch._utils._rebuild_parameter"), _, tuple() as inner, *_):
            return _parameter(inner)
        case _:
            return Foreign("torch._tensor._rebuild_from_type_v2")


def _ordered(arguments: tuple[Any, ...]) -> Any:
    """An empty dictionary, which is filled afterwards; one filled at once was written by Python 2."""
    if arguments:
        raise UnreadableError("a dictionary written by Python 2; load it with PyTorch and save it again")
    return {}


_CONSTRUCTORS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "collections.OrderedDict": _ordered,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
}
"""The functions of PyTorch that make tensors, and what stands for them here."""

_INSTRUCTIONS: dict[str, Callable[[PickleReader, Any], None]] = {
    "ADDITEMS": PickleReader.add,
    "APPEND": PickleReader.append,
    "APPENDS": PickleReader.extend,
    "BINGET": PickleReader.get,
    "BINPERSID": PickleReader.persistent,
    "BINPUT": PickleReader.put,
    "BUILD": PickleReader.build,
    "DICT": PickleReader.make_dict,
    "DUP": PickleReader.duplicate,
    "EMPTY_DICT": PickleReader.push_dict,
    "EMPTY_LIST": PickleReader.push_list,
    "EMPTY_SET": PickleReader.push_set,
    "FRAME": PickleReader.nothing,
    "FROZENSET": PickleReader.make_set,
    "GET": PickleReader.get,
    "GLOBAL": PickleReader.name,
    "INST": PickleReader.make_named,
    "LIST": PickleReader.make_list,
    "LONG_BINGET": PickleReader.get,
    "LONG_BINPUT": PickleReader.put,
    "MARK": PickleReader.push_mark,
    "MEMOIZE": PickleReader.memoize,
    "NEWOBJ": PickleReader.make_object,
    "NEWOBJ_EX": PickleReader.make_object_with_keywords,
    "OBJ": PickleReader.make_marked,
    "POP": PickleReader.pop,
    "POP_MARK": PickleReader.pop_mark,
    "PROTO": PickleReader.nothing,
    "PUT": PickleReader.put,
    "REDUCE": PickleReader.call,
    "SETITEM": PickleReader.set_item,
    "SETITEMS": PickleReader.set_items,
    "STACK_GLOBAL": PickleReader.name_of_stack,
    "TUPLE": PickleReader.make_tuple,
    "TUPLE1": lambda reader, _: reader.tuple_of(1),
    "TUPLE2": lambda reader, _: reader.tuple_of(2),
    "TUPLE3": lambda reader, _: reader.tuple_of(3),
}
