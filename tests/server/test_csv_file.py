"""CSV files read by columns agree with the strict reader of the standard library, which reads row by row."""

import csv
from io import StringIO
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from penult_server.datasets.tables.csv_file import read_csv
from penult_server.errors import ServiceError


def rows_of(text: str) -> list[list[str]] | None:
    """Rows as long as the header, or None."""
    try:
        rows = [row for row in csv.reader(StringIO(text, newline=""), strict=True) if row]
    except csv.Error:
        return None
    return rows if len(rows) > 1 and len({len(row) for row in rows}) == 1 else None


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("csv") / "table.csv"


@given(body=st.text('ab",\n\r', max_size=20))
@example('1,"2\n3,"4\n')
@example('1,"x"y\n')
@example('1,""x\n')
@example('1,5" disk\n')
@example('1,"a ""b"",\n c"\n\n"",\r\n')
@example("1\n")
def test_a_file_is_read_alike_or_refused(file: Path, body: str):
    text = "c,d\n" + body
    file.write_text(text, newline="")
    expected = rows_of(text)
    if expected is None:
        with pytest.raises(ServiceError):
            read_csv(file, lambda header: header)
    else:
        table = read_csv(file, lambda header: header)
        assert list(map(list, zip(*(table.texts(name).to_pylist() for name in "cd"), strict=True))) == expected[1:]


def test_rows_are_counted_with_blank_lines_and_line_breaks_in_fields(file: Path):
    file.write_text('a,b\n\n1,"x\ny"\n\n\n2,z\n')
    table = read_csv(file, lambda header: header)
    assert [table.where(i) for i in range(2)] == ["row 3 of table.csv", "row 6 of table.csv"]


def test_texts_may_be_long_and_hold_any_character(file: Path):
    text = "x" * 3_000_000 + "\0 ü \u2028\x1a"
    file.write_text(f'a,b\n1,{text}\n2,"{text}"\n', encoding="utf-8", newline="")
    assert read_csv(file, lambda header: header).texts("b").to_pylist() == [text, text]


def test_the_row_of_an_error_is_found_beyond_long_texts(file: Path):
    file.write_text('a,b\n1,"' + "x\n" * 200_000 + '"\n2,y\n')
    table = read_csv(file, lambda header: header)
    assert table.where(1) == "row 3 of table.csv"
    with file.open("a") as opened:
        opened.write("3\n")
    with pytest.raises(ServiceError, match=r"row 4 of table.csv has 1 fields, the header has 2"):
        read_csv(file, lambda header: header)
