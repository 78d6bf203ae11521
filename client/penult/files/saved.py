"""Records as files: one .npz of plain arrays and a header in JSON, without a pickle; `penult.load` reads them.

Every record is written alike, by its fields. In the header an array is the name of a member, and what JSON does not
have is an object of one key: ``{"record": [name, {field: value}]}``, ``{"same": i}`` (the i-th record once more),
``{"array": name}``, ``{"scalar": name}``, ``{"tuple": [...]}``, ``{"dict": [[key, value], ...]}``,
``{"float": "nan"}``, ``{"time": "..."}``, ``{"note": [text, id]}``.
"""

import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import numpy as np

from penult.errors import PenultError, VersionMismatch, invalid, shown
from penult.files.atomic import whole_file
from penult.files.formats import npz
from penult.files.rows import AnyArray
from penult.files.sources import broken, existing
from penult_proto.errors import ErrorKind

HEADER = "penult-record.json"
FORMAT = 1
"""Raised when files become such that an earlier penult would misread them."""


def write_record(record: Any, path: str | Path) -> None:
    """Write a record and everything in it. Raises `InvalidRequest` where the file cannot be written."""
    encoder = _Encoder()
    content = encoder.encode(record)
    header = {"penult_record": FORMAT, "kind": type(record).__name__, "content": content}
    with whole_file(path) as staging:
        _write(staging, header, encoder.arrays)


def read_record(path: str | Path, known: Mapping[str, type[Any]]) -> Any:
    """The record in a file that `Saved.save` wrote; `known` are the classes by name.

    Raises `InvalidRequest` for any other file, and `VersionMismatch` for one of a newer penult.
    """
    place = existing(path)
    try:
        with zipfile.ZipFile(place) as archive:
            names = archive.namelist()
            if HEADER not in names or archive.getinfo(HEADER).file_size > npz.MOST_DESCRIPTION:
                raise _not_ours(place)
            header: Any = json.loads(archive.read(HEADER))
            if not isinstance(header, dict) or not isinstance(cast("dict[str, Any]", header).get("penult_record"), int):
                raise _not_ours(place)
            if header["penult_record"] > FORMAT:
                raise _newer(place, f"format {header['penult_record']}, this penult reads up to {FORMAT}")
        if len(names) == 1:
            return _Decoder(place, {}, known).decode(header["content"])
        with npz.opened(place) as source:
            arrays = {name: rows.read() for name, rows in source.arrays.items()}
        return _Decoder(place, arrays, known).decode(header["content"])
    except zipfile.BadZipFile:
        raise _not_ours(place) from None
    except PenultError:
        raise
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError, EOFError) as error:
        raise broken(place, error) from error


def _write(path: Path, header: Mapping[str, Any], arrays: Mapping[str, AnyArray]) -> None:
    writer = npz.NpzWriter(path, json.dumps(header).encode(), HEADER)
    try:
        for name, array in arrays.items():
            writer.start(name, array.dtype, array.shape)
            writer.write(np.ascontiguousarray(array).tobytes())
    finally:
        writer.close()


def _not_ours(place: Path) -> PenultError:
    return invalid(
        f"{place} holds no record of penult; penult.load reads what .save(path) of a Refit, Spectra and the like "
        "wrote, and client.features.load reads arrays",
        argument="path",
    )


def _newer(place: Path, why: str) -> VersionMismatch:
    return VersionMismatch(
        f"{place} was written by a newer penult ({why}); install that version here", kind=ErrorKind.VERSION_MISMATCH
    )


class _Encoder:
    """Values as JSON; arrays are put aside."""

    def __init__(self) -> None:
        self.arrays: dict[str, AnyArray] = {}
        self._records: dict[int, int] = {}

    def encode(self, value: Any) -> Any:
        """JSON for a value. Raises `InvalidRequest` for one of a type that no record has."""
        if isinstance(value, str):
            note = getattr(value, "id", None)
            return str(value) if note is None else {"note": [str(value), note]}
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float) and not isinstance(value, np.generic):
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, np.ndarray | np.generic):
            return self._array(cast("Any", value))
        if isinstance(value, datetime):
            return {"time": value.isoformat()}
        if is_dataclass(value) and not isinstance(value, type):
            return self._record(value)
        if isinstance(value, Mapping):
            pairs = cast("Mapping[Any, Any]", value).items()
            return {"dict": [[self.encode(key), self.encode(one)] for key, one in pairs]}
        if isinstance(value, tuple | list):
            members = [self.encode(one) for one in cast("list[Any]", value)]
            return {"tuple": members} if isinstance(value, tuple) else members
        raise invalid(f"a {type(value).__name__} cannot be saved: {shown(value)}")

    def _array(self, value: Any) -> dict[str, str]:
        name = f"array_{len(self.arrays)}"
        self.arrays[name] = np.asarray(value)
        return {"scalar" if isinstance(value, np.generic) else "array": name}

    def _record(self, value: Any) -> dict[str, Any]:
        if id(value) in self._records:
            return {"same": self._records[id(value)]}
        content = {one.name: self.encode(getattr(value, one.name)) for one in fields(value)}
        # Counted when it is complete, as it is when it is read.
        self._records[id(value)] = len(self._records)
        return {"record": [type(value).__name__, content]}


class _Decoder:
    """Values from JSON and arrays."""

    def __init__(self, place: Path, arrays: Mapping[str, AnyArray], known: Mapping[str, type[Any]]) -> None:
        self._place = place
        self._arrays = arrays
        self._known = known
        self._records: list[Any] = []

    def decode(self, value: Any) -> Any:
        """A value. Raises ValueError, LookupError or TypeError for what no encoder wrote."""
        if isinstance(value, list):
            return [self.decode(one) for one in cast("list[Any]", value)]
        if not isinstance(value, dict):
            return value
        ((kind, content),) = cast("dict[str, Any]", value).items()
        match kind:
            case "record":
                return self._record(*content)
            case "same":
                return self._records[content]
            case "array":
                return self._arrays[content]
            case "scalar":
                return self._arrays[content][()]
            case "tuple":
                return tuple(self.decode(one) for one in content)
            case "dict":
                return {self.decode(key): self.decode(one) for key, one in content}
            case "float":
                return float(content)
            case "time":
                return datetime.fromisoformat(content)
            case "note":
                return self._known["Note"](*content)
            case _:
                raise _newer(self._place, f"values of a kind {shown(kind)}")

    def _record(self, name: str, content: Mapping[str, Any]) -> Any:
        kind = self._known.get(name)
        if kind is None:
            raise _newer(self._place, f"a record {shown(name)}")
        unknown = set(content) - {one.name for one in fields(kind)}
        if unknown:
            raise _newer(self._place, f"{name} has {', '.join(sorted(unknown))}")
        made = kind(**{field: self.decode(one) for field, one in content.items()})
        self._records.append(made)
        return made
