"""Reading of registration tables: what is accepted, and what is refused with which row and column."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from penult_proto.errors import ErrorKind
from penult_server.datasets.layouts.columns import Columns
from penult_server.datasets.layouts.table import read_table, sorted_names
from penult_server.datasets.rows import Rows
from penult_server.errors import ServiceError

TABLE = """split,path,y,ground
train,images/0.png,dog,beach
train,images/1.png,cat,snow
train,images/2.png,dog,snow
train,images/3.png,cat,beach
test,images/4.png,dog,beach
test,images/5.png,cat,beach
"""


def refused(table: Path, kind: ErrorKind, message: str) -> ServiceError:
    with pytest.raises(ServiceError, match=message) as raised:
        read_table(table, Columns())
    assert raised.value.kind is kind
    return raised.value


def read(table: Path, text: str) -> Rows:
    table.write_text(text, encoding="utf-8", newline="")
    return read_table(table, Columns())


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(TABLE)
    return path


def replaced(old: str, new: str) -> Callable[[Path], None]:
    def change(table: Path) -> None:
        text = table.read_text()
        assert old in text
        table.write_text(text.replace(old, new))

    return change


def without_column(index: int) -> Callable[[Path], None]:
    def change(table: Path) -> None:
        lines = [line.split(",") for line in table.read_text().splitlines()]
        table.write_text("\n".join(",".join(line[:index] + line[index + 1 :]) for line in lines))

    return change


BAD_TABLES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty file": (lambda table: table.write_text(""), "is empty; expected a header"),
    "no rows": (lambda table: table.write_text("split,path,y,a\n\n"), "no rows"),
    "no split column": (without_column(0), "no column 'split'; got: 'path', 'y', 'ground'"),
    "no y column": (without_column(2), "no column 'y'"),
    "neither path nor text": (without_column(1), "'path' .* or a column 'text' .* got neither"),
    "both path and text": (replaced("ground", "text"), "got both"),
    "column twice": (replaced("ground", "y"), "2 columns 'y'; got"),
    "column without name": (replaced("ground", " "), "column 4 has no name"),
    "short row": (replaced("4.png,dog,beach", "4.png,dog"), "row 6 of table.csv has 3 fields, the header has 4"),
    "empty split": (replaced("train,images/2.png", ",images/2.png"), "row 4 of table.csv: 'split' is empty"),
    "blank y": (replaced("3.png,cat", "3.png,  "), "row 5 of table.csv: 'y' is empty"),
    "empty path": (replaced("images/3.png", ""), "row 5 of table.csv: 'path' is empty"),
    "empty attribute": (replaced("5.png,cat,beach", "5.png,cat,"), "row 7 of table.csv: 'ground' is empty"),
    "no train split": (replaced("train", "fit"), "no row has the split 'train', which is trained on; got: fit, test"),
    "class absent from train": (replaced("4.png,dog", "4.png,fox"), "absent: fox"),
    "unclosed quote": (replaced("test,images/4", 'test,"images/4'), "no CSV file: line 7"),
    "NUL": (replaced("3.png,cat", "3.png,c\0at"), "row 5 of table.csv: 'y' holds a NUL character"),
    "is a directory": (
        lambda table: (table.unlink(), table.mkdir()),
        "is a directory, a table one CSV, TSV or Parquet file",
    ),
    "is not there": (lambda table: table.unlink(), "cannot be read: No such file"),
}


@pytest.mark.parametrize("case", list(BAD_TABLES))
def test_bad_tables_are_refused(table: Path, case: str):
    change, message = BAD_TABLES[case]
    change(table)
    refused(table, ErrorKind.BAD_TABLE, message)


def test_a_table_in_another_encoding_names_row_and_column(table: Path):
    table.write_bytes(TABLE.replace("3.png,cat", "3.png,Bär").encode("latin-1"))
    error = refused(table, ErrorKind.BAD_TABLE, "row 5, column 'y' .* not UTF-8")
    assert error.metadata == {"row": "5", "column": "y"}
    table.write_bytes("split,path,Größe\n".encode("latin-1"))
    refused(table, ErrorKind.BAD_TABLE, "row 1, column '3' .* not UTF-8")


def test_an_image_is_no_table(table: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(table, format="PNG")
    refused(table, ErrorKind.BAD_TABLE, "not UTF-8")


def test_a_table_without_attribute_is_refused(table: Path):
    without_column(3)(table)
    refused(table, ErrorKind.ATTRIBUTE_MISSING, "no attribute: every column that is nothing else")


def test_a_column_of_free_text_is_no_attribute(table: Path):
    lines = ["split,text,y,url", *(f"train,t,0,page {i}" for i in range(1001))]
    assert len(read(table, "\n".join(lines[:-1])).attributes[0].values) == 1000
    table.write_text("\n".join(lines))
    refused(table, ErrorKind.BAD_TABLE, "'url' has 1001 different values")


def test_duplicate_ids_are_refused(table: Path):
    table.write_text("id,split,text,y,a\nb,train,t,0,0\na,train,t,0,0\nb ,train,t,0,0\n")
    refused(table, ErrorKind.BAD_TABLE, "row 4 of table.csv: 'id' repeats 'b' of row 2")


def test_labels_are_encoded_in_the_order_of_their_names(table: Path):
    rows = read_table(table, Columns())
    assert rows.modality == "image"
    assert rows.splits == ("train", "test")
    assert rows.split_index.tolist() == [0, 0, 0, 0, 1, 1]
    assert (rows.classes, rows.y.tolist()) == (("cat", "dog"), [1, 0, 1, 0, 1, 0])
    assert (rows.attributes[0].values, rows.a[:, 0].tolist()) == (("beach", "snow"), [0, 1, 1, 0, 0, 0])
    assert rows.ids is None
    assert [rows.where(i) for i in (0, 5)] == ["row 2 of table.csv", "row 7 of table.csv"]


def test_a_byte_order_mark_windows_line_ends_and_blanks_are_read(table: Path):
    rows = read(table, "\ufeffsplit,y , text,a\r\n\r\ntrain , 1 , hello ,x\r\n")
    assert (rows.splits, rows.classes, rows.attributes[0].values) == (("train",), ("1",), ("x",))
    assert [column.to_pylist() for column in rows.texts] == [[" hello "]], "texts keep their blanks"
    assert rows.where(0) == "row 3 of table.csv"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["10", "9", "-1", "+2"], ("-1", "+2", "9", "10")),
        (["10", "9", "b"], ("10", "9", "b")),
        (["1", "01", "1"], ("01", "1")),
        (["9" * 5000, "1"], ("1", "9" * 5000)),
        (["٣", "12"], ("12", "٣")),
    ],
    ids=["integers", "texts", "equal numbers", "huge", "other digits"],
)
def test_names_are_ordered_by_number_only_if_all_are_integers(values: list[str], expected: tuple[str, ...]):
    assert sorted_names(values) == expected


# Labels that are no names, and columns of other names.


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1.png,cat", "1.png,nan", "row 3 of table.csv: 'y' is 'nan', a missing number; every row needs a value"),
        ("1.png,cat", "1.png,0.5", "row 3 of table.csv: 'y' is '0.5'; a class is a name or a whole number without"),
        ("1.png,cat", "1.png,1.0", "row 3 of table.csv: 'y' is '1.0'; a class is a name or a whole number without"),
        ("1.png,cat", "1.png,inf", "row 3 of table.csv: 'y' is 'inf'; a class is"),
        ("1.png,cat,snow", "1.png,cat,NaN", "row 3 of table.csv: 'ground' is 'NaN', a missing number"),
        ("test,images/4.png", "NaN,images/4.png", "row 6 of table.csv: 'split' is 'NaN', a missing number"),
    ],
)
def test_labels_that_are_no_names_are_refused(table: Path, old: str, new: str, message: str):
    replaced(old, new)(table)
    refused(table, ErrorKind.BAD_TABLE, message)


def comments(directory: Path, **changed: object) -> Path:
    """A Parquet file of pairs with names of its own."""
    columns = {
        "first": ["a", "b", "c", "d"],
        "second": ["e", "f", "g", "h"],
        "label": pa.array([1, 0, 1, 0], pa.int8()),
        "place": pa.array(["sea", "sea", "land", "land"]).dictionary_encode(),
        "size": [2.0, 10.0, 2.0, 10.0],
        "male": [True, False, True, False],
        "old": [0, 0, 1, 1],
        "part": ["train", "train", "train", "val"],
    }
    pq.write_table(pa.table(columns | changed), directory / "comments.parquet")
    return directory / "comments.parquet"


NAMED = Columns(texts=("first", "second"), y="label", split="part", attributes=("place", "size"), masks=("male", "old"))


def test_a_parquet_file_with_names_of_its_own(tmp_path: Path):
    rows = read_table(comments(tmp_path), NAMED)
    assert [column.to_pylist() for column in rows.texts] == [["a", "b", "c", "d"], ["e", "f", "g", "h"]]
    assert (rows.classes, rows.y.tolist()) == (("0", "1"), [1, 0, 1, 0])
    assert [(one.name, one.values) for one in rows.attributes] == [("place", ("land", "sea")), ("size", ("2", "10"))]
    assert rows.a.tolist() == [[1, 0], [1, 1], [0, 0], [0, 1]]
    assert (rows.masks, rows.in_masks.astype(int).tolist()) == (("male", "old"), [[1, 0], [0, 0], [1, 1], [0, 1]])
    assert (rows.splits, rows.split_index.tolist()) == (("train", "val"), [0, 0, 0, 1])


def test_csv_and_parquet_of_the_same_table_are_the_same(tmp_path: Path):
    text = "id,split,text,text_pair,y,kind\n7,train,a,b,1,x\n3,train,c,d,0,y\n"
    (tmp_path / "table.csv").write_text(text)
    columns = {"id": [7, 3], "split": ["train"] * 2, "text": ["a", "c"], "text_pair": ["b", "d"], "y": [1, 0]}
    pq.write_table(pa.table(columns | {"kind": ["x", "y"]}), tmp_path / "table")
    first, second = (read_table(tmp_path / name, Columns()) for name in ("table.csv", "table"))
    assert (
        [one.to_pylist() for one in first.texts]
        == [one.to_pylist() for one in second.texts]
        == [["a", "c"], ["b", "d"]]
    )
    assert first.row_id.tolist() == second.row_id.tolist() == [7, 3]
    for rows in (first, second):
        assert (rows.classes, rows.y.tolist(), rows.attributes[0].values) == (("0", "1"), [1, 0], ("x", "y"))


BAD_PARQUET: dict[str, tuple[dict[str, object], str]] = {
    "missing label": ({"label": [1, None, 1, 0]}, r"row 1 \(counted from 0\) of comments.parquet: 'label' is missing"),
    "NaN label": ({"label": [1.0, float("nan"), 1.0, 0.0]}, "row 1 .*'label' is 'nan', a missing number"),
    "fractions": ({"label": [1.0, 0.0, 0.5, 0.0]}, "row 2 .*'label' is '0.5'; a class is a name or a whole number"),
    "missing text": ({"second": ["e", "f", None, "h"]}, "row 2 .*'second' is missing"),
    "blank text": ({"second": ["e", " ", "g", "h"]}, "row 1 .*'second' is empty"),
    "lists": ({"place": [["sea"], [], ["land"], []]}, "column 'place' of comments.parquet is of type list<"),
    "mask of words": ({"male": ["yes", "no", "yes", "no"]}, "row 0 .*'male' is 'yes'; expected one of 0, 1"),
    "mask of shares": ({"male": [0.1, 0.0, 1.0, 0.0]}, "row 0 .*'male' is '0.1'; expected one of 0, 1"),
    "no rows": (
        {
            name: pa.array([], pa.string())
            for name in ("first", "second", "label", "place", "size", "male", "old", "part")
        },
        "comments.parquet has no rows",
    ),
}


@pytest.mark.parametrize("case", list(BAD_PARQUET))
def test_bad_parquet_files_are_refused(tmp_path: Path, case: str):
    changed, message = BAD_PARQUET[case]
    with pytest.raises(ServiceError, match=message) as raised:
        read_table(comments(tmp_path, **changed), NAMED)
    assert raised.value.kind is ErrorKind.BAD_TABLE


def test_a_parquet_file_cut_short_is_refused(tmp_path: Path):
    file = comments(tmp_path)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ServiceError, match="cannot be read as a Parquet file") as raised:
        read_table(file, NAMED)
    assert raised.value.kind is ErrorKind.BAD_TABLE


BAD_NAMES: dict[str, tuple[Columns, str]] = {
    "no such column": (replace(NAMED, y="target"), "has no column 'target'; got: 'first', 'second', 'label'"),
    "no such mask": (replace(NAMED, masks=("male", "young")), "has no column 'young'"),
    "two meanings": (replace(NAMED, masks=("male", "place")), "column 'place' is given two meanings"),
    "three texts": (replace(NAMED, texts=("first", "second", "part")), "got 3 columns"),
    "paths and texts": (replace(NAMED, path="place"), "got both"),
    "neither": (replace(NAMED, texts=()), "got neither: .* named by columns="),
}


@pytest.mark.parametrize("case", list(BAD_NAMES))
def test_bad_names_of_columns_are_refused(tmp_path: Path, case: str):
    columns, message = BAD_NAMES[case]
    with pytest.raises(ServiceError, match=message) as raised:
        read_table(comments(tmp_path), columns)
    assert raised.value.kind is ErrorKind.BAD_TABLE
