"""Datasets of other libraries, written as the table that `client.datasets.register` takes: ``penult.datasets.from_hf``.

Nothing of those libraries is imported: their objects are known by their methods.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow is untyped.

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

from penult.arguments.coerce import names, text, whole
from penult.errors import invalid, shown
from penult.files.atomic import whole_directory
from penult.files.formats.parquet import needs_pyarrow
from penult_proto.errors import ErrorKind

if TYPE_CHECKING:
    from penult.client import Client
    from penult.results.records import Dataset

USUAL_SPLITS = {
    "training": "train",
    "validation": "val",
    "valid": "val",
    "dev": "val",
    "testing": "test",
    "eval": "test",
}
"""What other libraries call the splits."""
TABLE, IMAGES = "table.parquet", "images"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """Which column is what."""

    y: str
    attributes: tuple[str, ...]
    image: str
    """Empty for texts."""
    texts: tuple[str, ...]

    def examples(self) -> tuple[str, ...]:
        """What the columns of examples are called in the table."""
        return ("path",) if self.image else ("text", "text_pair")[: len(self.texts)]


@overload
def from_hf(
    ds: Any,
    directory: str | Path,
    *,
    y: str,
    a: str | Sequence[str],
    image: str | None = None,
    text: str | Sequence[str] | None = None,
    splits: Mapping[str, str] | None = None,
    batch_size: int = 64,
) -> Path: ...


@overload
def from_hf(
    ds: Any,
    directory: str | Path,
    *,
    y: str,
    a: str | Sequence[str],
    image: str | None = None,
    text: str | Sequence[str] | None = None,
    splits: Mapping[str, str] | None = None,
    batch_size: int = 64,
    client: Client,
    name: str,
) -> Dataset: ...


def from_hf(
    ds: Any,
    directory: str | Path,
    *,
    y: str,
    a: str | Sequence[str],
    image: str | None = None,
    text: str | Sequence[str] | None = None,
    splits: Mapping[str, str] | None = None,
    batch_size: int = 64,
    client: Client | None = None,
    name: str = "",
) -> Path | Dataset:
    """Write a dataset of Hugging Face's `datasets` as the table that ``client.datasets.register`` takes.

    ::

        ds = datasets.load_dataset("imagefolder", data_dir="/data/birds")
        table = penult.datasets.from_hf(ds, "/data/birds-for-penult", y="label", a="place")
        client.datasets.register("birds", table)

    Examples come in batches and are not kept in memory. Images are copied byte for byte where the library has them
    encoded, else as PNG, each named by its sha256. Numbers of a ClassLabel become their names; the server orders
    classes by name.

    Parameters
    ----------
    ds : a `DatasetDict`, by split, or one `Dataset` or `IterableDataset`, which is then one split: its own, else
        "train". Anything with ``.features`` and ``.iter(batch_size)`` will do.
    directory : a new directory for ``table.parquet`` and ``images``, where the server can read it.
    y : the column of classes.
    a : the columns of attributes; the first makes the groups unless a call names another.
    image : the column of images; by default the only one of the type Image.
    text : the column of texts, or two that are read as pairs; by default "text" where there is no image.
    splits : other names for splits, such as ``{"validation": "val"}``, which is the default.
    batch_size : examples at a time.
    client, name : register the table under this name with that client, whose server must see `directory`.

    Returns
    -------
    The path of the table; with `client` the registered dataset.

    Raises
    ------
    InvalidRequest : a column is not there, a label is hidden (-1) or missing, or the directory is there already.
    ImportError : pyarrow is missing, which `datasets` brings.
    """
    if (client is None) != (not name):
        raise invalid("client= and name= go together: the dataset is registered under that name", argument="name")
    pa = needs_pyarrow()
    parts = _parts(ds, splits or {})
    at_once = whole("batch_size", batch_size)
    columns = _columns(next(iter(parts.values())), y, a, image, text)
    with whole_directory(directory) as staging:
        if columns.image:
            (staging / IMAGES).mkdir()
        fields = ["id", "split", "y", *columns.examples(), *columns.attributes]
        schema = pa.schema([(field, pa.int64() if field == "id" else pa.large_string()) for field in fields])
        n_written = 0
        with closing(pa.parquet.ParquetWriter(staging / TABLE, schema)) as writer:
            for split, part in parts.items():
                for rows in _batches(part, split, columns, staging, at_once):
                    count = len(rows["y"])
                    ids = range(n_written, n_written + count)
                    rows |= {"id": list(ids), "split": [split] * count}
                    writer.write_table(pa.table({field: rows[field] for field in fields}, schema=schema))
                    n_written += count
        if not n_written:
            raise invalid("the dataset has no example", argument="ds")
    table = Path(directory).expanduser().absolute() / TABLE
    if client is None:
        return table
    return client.datasets.register(name, table, columns={"attributes": list(columns.attributes)})


def _parts(ds: Any, renamed: Mapping[str, str]) -> dict[str, Any]:
    """The dataset of each split, by the name that penult uses."""
    parts = (
        cast("Mapping[Any, Any]", ds) if isinstance(ds, Mapping) else {str(getattr(ds, "split", None) or "train"): ds}
    )
    found: dict[str, Any] = {}
    for split, part in parts.items():
        if not hasattr(part, "iter") or not isinstance(getattr(part, "features", None), Mapping):
            raise invalid(
                f"ds must be a Dataset or DatasetDict of Hugging Face's datasets, with .features and .iter; got "
                f"{shown(part)}. An IterableDataset without features gets them by ds.cast(features)",
                argument="ds",
            )
        usual = renamed.get(str(split), USUAL_SPLITS.get(str(split), str(split)))
        if usual in found:
            raise invalid(f"two splits are called {usual!r}; name them apart with splits=", argument="splits")
        found[usual] = part
    unknown = set(renamed) - {str(split) for split in parts}
    if unknown or not found:
        raise invalid(f"splits= names {shown(sorted(unknown))}; the splits are {list(parts)}", argument="splits")
    return found


def _columns(
    part: Any, y: str, a: str | Sequence[str], image: str | None, texts: str | Sequence[str] | None
) -> _Columns:
    """Which column is what. Raises `InvalidRequest`, listing the columns."""
    features: Mapping[str, Any] = part.features
    attributes = (text("a", a),) if isinstance(a, str) else tuple(names("a", a))
    if not attributes:
        raise invalid("a names at least one column of attributes", ErrorKind.ATTRIBUTE_MISSING, argument="a")
    if image is not None and texts is not None:
        raise invalid("image= and text= exclude each other", argument="image")
    of_text = () if texts is None else (text("text", texts),) if isinstance(texts, str) else tuple(names("text", texts))
    of_image = image or ""
    if not of_text and not of_image:
        found = [name for name, feature in features.items() if type(feature).__name__ == "Image"]
        if len(found) > 1:
            raise invalid(f"several columns hold images: {', '.join(found)}; say which with image=", argument="image")
        of_image, of_text = (found[0], ()) if found else ("", ("text",))
    if len(of_text) > 2:
        raise invalid(f"text= names one column, or two that are read as pairs; got {len(of_text)}", argument="text")
    chosen = _Columns(y=text("y", y), attributes=attributes, image=of_image, texts=of_text)
    used = [chosen.y, *attributes, *of_text, *([of_image] if of_image else [])]
    taken = {"id", "split", "y", *chosen.examples()}
    for column in used:
        if column not in features:
            raise invalid(f"there is no column {column!r}; the columns are {', '.join(features)}", argument="y")
        if used.count(column) > 1 or (column in attributes and column in taken):
            raise invalid(
                f"the column {column!r} cannot be an attribute: it is something else here, or in the table; rename it, "
                f"ds.rename_column({column!r}, ...)",
                argument="a",
            )
    return chosen


def _batches(part: Any, split: str, columns: _Columns, staging: Path, at_once: int) -> Iterator[dict[str, list[Any]]]:
    """Columns of the table, a batch at a time; images are written."""
    features: Mapping[str, Any] = part.features
    source = part
    if columns.image and hasattr(part, "cast_column"):
        # The library would decode each image, and encoding it again could change it.
        source = part.cast_column(columns.image, type(features[columns.image])(decode=False))
    at = 0
    for batch in source.iter(batch_size=at_once):
        rows: dict[str, list[Any]] = {
            "y": _labels(batch[columns.y], features[columns.y], columns.y, split, at),
            **{name: _labels(batch[name], features[name], name, split, at) for name in columns.attributes},
        }
        if columns.image:
            rows["path"] = [_stored(one, staging, split, at + i) for i, one in enumerate(batch[columns.image])]
        for written, column in zip(("text", "text_pair"), columns.texts, strict=False):
            rows[written] = _texts(batch[column], column, split, at)
        at += len(rows["y"])
        yield rows


def _labels(values: Sequence[Any], feature: Any, column: str, split: str, at: int) -> list[str]:
    """Names of labels. Raises `InvalidRequest`, naming the row, for a missing or hidden one."""
    known: Sequence[str] | None = getattr(feature, "names", None)
    found: list[str] = []
    for row, value in enumerate(values, start=at):
        if value is None or (known is not None and not 0 <= int(value) < len(known)):
            raise invalid(
                f"row {row} of {split!r}: {column!r} is {shown(value)}, which is no label (-1 marks a hidden one); "
                "leave such rows out with ds.filter",
                ErrorKind.LABEL_OUT_OF_RANGE,
                array=column,
            )
        found.append(str(value) if known is None else known[int(value)])
    return found


def _texts(values: Sequence[Any], column: str, split: str, at: int) -> list[str]:
    for row, value in enumerate(values, start=at):
        if not isinstance(value, str):
            raise invalid(f"row {row} of {split!r}: {column!r} must be text; got {shown(value)}", argument="text")
    return list(values)


def _stored(image: Any, staging: Path, split: str, row: int) -> str:
    """Write an image under its sha256; its path from the table."""
    content = _encoded(image)
    if not content:
        raise invalid(f"row {row} of {split!r} has no image; got {shown(image)}", argument="image")
    name = f"{IMAGES}/{hashlib.sha256(content).hexdigest()}"
    if not (staging / name).exists():
        (staging / name).write_bytes(content)
    return name


def _encoded(image: Any) -> bytes | None:
    """The bytes of an image: as it came, from its file, or of a decoded one as PNG."""
    if isinstance(image, Mapping):
        entry = cast("Mapping[str, Any]", image)
        if entry.get("bytes"):
            return bytes(entry["bytes"])
        try:
            return Path(entry["path"]).read_bytes() if entry.get("path") else None
        except OSError as error:
            raise invalid(f"the image {entry['path']} cannot be read: {error.strerror}", argument="image") from None
    if not hasattr(image, "save"):
        return None
    image.save(buffer := io.BytesIO(), format="PNG")
    return buffer.getvalue()
