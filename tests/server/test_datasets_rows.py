"""Reading of registration tables: what is accepted, and what is refused with which row and column."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
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
    "no train split": (replaced("train", "fit"), "no row has the split 'train'; got: fit, test"),
    "class absent from train": (replaced("4.png,dog", "4.png,fox"), "absent: fox"),
    "unclosed quote": (replaced("test,images/4", 'test,"images/4'), "no CSV file: line 7"),
    "NUL": (replaced("3.png,cat", "3.png,c\0at"), "row 5, column 'y' .* NUL"),
    "is a directory": (lambda table: (table.unlink(), table.mkdir()), "cannot be read: Is a directory"),
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
