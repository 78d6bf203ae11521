"""Datasets of Hugging Face's library by duck typing: a stand-in with its interface, since it is no dependency."""

import hashlib
import io
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pictures

import penult


class ClassLabel:
    def __init__(self, names: list[str]) -> None:
        self.names = names


class Value:
    def __init__(self, dtype: str) -> None:
        self.dtype = dtype


class Image:
    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


class Dataset:
    """`.features`, `.iter(batch_size)`, `.cast_column`, `.split`, as `datasets.Dataset` has them."""

    def __init__(self, features: dict, columns: dict[str, list], split: str | None = None) -> None:
        self.features, self.columns, self.split = features, columns, split

    def cast_column(self, name: str, feature: object) -> "Dataset":
        return Dataset(self.features | {name: feature}, self.columns, self.split)

    def iter(self, batch_size: int):
        n = len(next(iter(self.columns.values())))
        for at in range(0, n, batch_size):
            yield {
                name: [self._one(name, one) for one in column[at : at + batch_size]]
                for name, column in self.columns.items()
            }

    def _one(self, name: str, value: object) -> object:
        feature = self.features[name]
        if isinstance(feature, Image) and feature.decode:
            return Pictures.open(io.BytesIO(value["bytes"]))
        return value


class WithoutCasting(Dataset):
    """A dataset whose images cannot be had encoded."""

    cast_column = None  # type: ignore[assignment]

    def __getattribute__(self, name: str) -> object:
        if name == "cast_column":
            raise AttributeError(name)
        return super().__getattribute__(name)


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    Pictures.fromarray(pixels).save(buffer := io.BytesIO(), "JPEG")
    return buffer.getvalue()


def images(n: int = 10, split: str | None = None, kind: type = Dataset, offset: int = 0) -> Dataset:
    features = {
        "image": Image(),
        "label": ClassLabel(["zebra", "ant"]),
        "place": Value("string"),
        "night": Value("bool"),
    }
    columns = {
        "image": [{"bytes": jpeg(offset + i), "path": None} for i in range(n)],
        "label": [i % 2 for i in range(n)],
        "place": [("land", "water")[i // 2 % 2] for i in range(n)],
        "night": [i % 3 == 0 for i in range(n)],
    }
    return kind(features, columns, split)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_images_are_copied_byte_for_byte(tmp_path, batch_size):
    parts = {"train": images(10), "validation": images(4, offset=10)}
    path = penult.datasets.from_hf(parts, tmp_path / "out", y="label", a=["place", "night"], batch_size=batch_size)
    assert path == tmp_path / "out/table.parquet"
    table = pq.read_table(path).to_pydict()
    assert list(table) == ["id", "split", "y", "path", "place", "night"]
    assert table["id"] == list(range(14))
    assert table["split"] == ["train"] * 10 + ["val"] * 4
    assert table["y"] == ["zebra", "ant"] * 7
    assert table["night"][:4] == ["True", "False", "False", "True"]
    for seed, place in enumerate(table["path"]):
        content = (path.parent / place).read_bytes()
        assert content == jpeg(seed)
        assert place == f"images/{hashlib.sha256(content).hexdigest()}"
    assert "datasets" not in sys.modules


def test_images_that_come_decoded_are_kept_without_loss(tmp_path):
    ds = images(3, kind=WithoutCasting)
    path = penult.datasets.from_hf(ds, tmp_path / "out", y="label", a="place")
    for seed, place in enumerate(pq.read_table(path).to_pydict()["path"]):
        decoded = np.asarray(Pictures.open(path.parent / place))
        np.testing.assert_array_equal(decoded, np.asarray(Pictures.open(io.BytesIO(jpeg(seed)))))


def test_images_that_are_files_are_read(tmp_path):
    (tmp_path / "one.jpg").write_bytes(jpeg(5))
    ds = images(1)
    ds.columns["image"] = [{"bytes": None, "path": str(tmp_path / "one.jpg")}]
    path = penult.datasets.from_hf(ds, tmp_path / "out", y="label", a="place")
    assert next((path.parent / "images").iterdir()).read_bytes() == jpeg(5)


def texts(**changes) -> Dataset:
    features = {name: Value("string") for name in ("text", "other")} | {
        "y": ClassLabel(["no", "yes"]),
        "who": Value("string"),
    }
    columns = {"text": ["a", "b\nc", "d"], "other": ["x", "y", "z"], "y": [0, 1, 0], "who": ["p", "q", "p"]}
    return Dataset(features, columns | changes, "test")


def test_texts_and_pairs_of_texts(tmp_path):
    table = pq.read_table(penult.datasets.from_hf(texts(), tmp_path / "one", y="y", a="who")).to_pydict()
    assert (table["text"], table["split"], table["y"]) == (["a", "b\nc", "d"], ["test"] * 3, ["no", "yes", "no"])
    path = penult.datasets.from_hf(
        texts(), tmp_path / "two", y="y", a="who", text=["text", "other"], splits={"test": "train"}
    )
    table = pq.read_table(path).to_pydict()
    assert (table["text_pair"], table["split"]) == (["x", "y", "z"], ["train"] * 3)


@pytest.mark.parametrize(
    ("ds", "options", "match"),
    [
        (texts(), {"y": "label"}, "no column 'label'; the columns are text, other, y, who"),
        (texts(), {"a": []}, "at least one column"),
        (texts(), {"a": "y"}, "cannot be an attribute"),
        (texts(y=[0, -1, 0]), {}, "row 1 of 'test': 'y' is -1.*ds.filter"),
        (texts(who=["p", None, "p"]), {}, "row 1 of 'test': 'who' is None"),
        (texts(text=["a", None, "b"]), {}, "row 1 of 'test': 'text' must be text"),
        (texts(), {"image": "text", "text": "text"}, "exclude each other"),
        (texts(), {"text": ["text", "other", "who"]}, "one column, or two"),
        (texts(), {"splits": {"val": "x"}}, r"splits= names \['val'\]; the splits are \['test'\]"),
        ({"validation": texts(), "val": texts()}, {}, "two splits are called 'val'"),
        ([1, 2], {}, "must be a Dataset or DatasetDict"),
        ({}, {}, "the splits are"),
        (texts(text=[], other=[], y=[], who=[]), {}, "no example"),
        (texts(), {"name": "birds"}, "client= and name= go together"),
    ],
)
def test_what_is_refused_leaves_nothing(tmp_path, ds, options, match):
    with pytest.raises(penult.InvalidRequest, match=match):
        penult.datasets.from_hf(ds, tmp_path / "out", **({"y": "y", "a": "who"} | options))
    assert not list(tmp_path.iterdir())


def test_a_directory_that_is_there_is_not_touched(tmp_path):
    with pytest.raises(penult.InvalidRequest, match="there already"):
        penult.datasets.from_hf(texts(), tmp_path, y="y", a="who")
