"""One table in every kind of file, and its splits under any values: the same dataset."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_server.datasets.layouts.columns import Columns
from penult_server.datasets.layouts.reading import read_layout
from penult_server.datasets.layouts.table import read_table
from penult_server.datasets.rows import Rows
from penult_server.datasets.tables.canonical import canonical
from penult_server.errors import ServiceError

Written = dict[str, list[str]]
N = 6
PLAIN: Written = {
    "text": ["a, b", 'she "said"', "c", "d\te", "f", "g"],
    "split": ["train"] * 4 + ["val", "test"],
    "y": ["0", "1", "1", "0", "1", "0"],
    "kind": ["x", "y", "x", "y", "x", "y"],
}


def delimited(columns: Written, delimiter: str) -> str:
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    quoted = [['"' + value.replace('"', '""') + '"' for value in row] for row in rows]
    return "\n".join(delimiter.join(row) for row in quoted) + "\n"


def csv(directory: Path, columns: Written) -> Path:
    (directory / "t.csv").write_text(delimited(columns, ","))
    return directory / "t.csv"


def tsv(directory: Path, columns: Written) -> Path:
    (directory / "t.tsv").write_text(delimited(columns, "\t"))
    return directory / "t.tsv"


def csv_gz(directory: Path, columns: Written) -> Path:
    (directory / "t.csv.gz").write_bytes(gzip.compress(delimited(columns, ",").encode()))
    return directory / "t.csv.gz"


def tsv_gz(directory: Path, columns: Written) -> Path:
    (directory / "T.TSV.gz").write_bytes(gzip.compress(delimited(columns, "\t").encode()))
    return directory / "T.TSV.gz"


def parquet(directory: Path, columns: dict[str, object]) -> Path:
    pq.write_table(pa.table(columns), directory / "t.parquet")
    return directory / "t.parquet"


def content(rows: Rows) -> tuple[object, ...]:
    return (
        *(rows.classes, rows.y.tolist(), rows.attributes, rows.a.tolist(), rows.splits, rows.split_index.tolist()),
        *(rows.masks, rows.in_masks.tolist(), [column.to_pylist() for column in rows.texts]),
    )


@pytest.mark.parametrize("write", [tsv, csv_gz, tsv_gz, parquet])
def test_every_kind_of_file_is_the_same_table(tmp_path: Path, write: Callable[[Path, Written], Path]) -> None:
    expected = content(read_table(csv(tmp_path, PLAIN), Columns()))
    assert content(read_table(write(tmp_path, PLAIN), Columns())) == expected
    assert expected[-1] == [PLAIN["text"]]


TRUTHS = [True, False, True, False, True, False]
CATEGORIES = pa.array([7, 5, 7, 5, 7, 5]).dictionary_encode()


@pytest.mark.parametrize(
    ("in_csv", "in_parquet", "names"),
    [
        (["True", "False"] * 3, TRUTHS, ("false", "true")),
        (["TRUE", "FALSE"] * 3, TRUTHS, ("false", "true")),
        (["true", "False"] * 3, ["true", "False"] * 3, ("false", "true")),
        (["1", "0"] * 3, [1, 0] * 3, ("0", "1")),
        (["1.0", "0.0"] * 3, [1.0, 0.0] * 3, ("0", "1")),
        (["1.0", "0"] * 3, pa.array([1, 0] * 3, pa.decimal128(3, 1)), ("0", "1")),
        (["-0.0", "10."] * 3, [-0.0, 10.0] * 3, ("0", "10")),
        (["7", "5"] * 3, CATEGORIES, ("5", "7")),
        (["7", "5"] * 3, CATEGORIES.cast(pa.dictionary(pa.int32(), pa.float64())), ("5", "7")),
        # No column of truths, or of whole numbers alone.
        (["true", "Truely"] * 3, ["true", "Truely"] * 3, ("Truely", "true")),
        (["01", "1"] * 3, ["01", "1"] * 3, ("01", "1")),
    ],
)
def test_classes_and_values_are_named_alike(
    tmp_path: Path, in_csv: list[str], in_parquet: object, names: tuple[str, ...]
) -> None:
    for column in ("y", "kind"):
        one = read_table(csv(tmp_path, PLAIN | {column: in_csv}), Columns())
        other = read_table(parquet(tmp_path, PLAIN | {column: in_parquet}), Columns())
        assert content(one) == content(other)
        assert (one.classes if column == "y" else one.attributes[0].values) == names


@pytest.mark.parametrize("values", [["True", "False"] * 3, ["1.0", "0.0"] * 3, ["1", "0"] * 3])
def test_masks_are_read_alike(tmp_path: Path, values: list[str]) -> None:
    rows = read_table(csv(tmp_path, PLAIN | {"mask": values}), Columns(masks=("mask",)))
    assert rows.in_masks[:, 0].tolist() == TRUTHS


def test_one_spelling_is_kept() -> None:
    for values in (["True", "FALSE"], ["1.0", "2"], ["a", "1.0"], ["01", "1"], ["1e3", "2.5"], []):
        assert canonical(canonical(values)) == canonical(values)


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        (["x", "y", None, "x", "y", "x"], 2),
        (pa.array(["x", None, "x", "x", "y", "x"]).dictionary_encode(), 1),
        ([True, False, True, None, True, True], 3),
        (pa.nulls(N), 0),
    ],
)
def test_what_is_missing_is_named_by_its_row(tmp_path: Path, kind: object, row: int) -> None:
    with pytest.raises(ServiceError, match=rf"row {row} \(counted from 0\) of t.parquet: 'kind' is missing"):
        read_table(parquet(tmp_path, PLAIN | {"kind": kind}), Columns())


def test_a_row_of_a_gzipped_tsv_is_named(tmp_path: Path) -> None:
    file = tsv_gz(tmp_path, PLAIN | {"kind": ["x", "y", "", "x", "y", "x"]})
    with pytest.raises(ServiceError, match=r"row 4 of T.TSV.gz: 'kind' is empty"):
        read_table(file, Columns())
    file.write_bytes(file.read_bytes()[:-12])
    with pytest.raises(ServiceError, match="is no whole gzip file") as caught:
        read_table(file, Columns())
    assert caught.value.kind is ErrorKind.BAD_TABLE
    short = tmp_path / "short.tsv"
    short.write_text("text\tsplit\ty\tkind\na\ttrain\t0\tx\nb\ttrain\t1\n")
    with pytest.raises(ServiceError, match=r"row 3 of short.tsv has 3 fields, the header has 4"):
        read_table(short, Columns())


NUMBERED = ["0", "0", "0", "0", "1", "2"]


@pytest.mark.parametrize("split", [NUMBERED, [float(value) for value in NUMBERED], [int(value) for value in NUMBERED]])
def test_splits_of_0_1_and_2_are_guessed_and_said(tmp_path: Path, split: list[object]) -> None:
    rows = read_table(parquet(tmp_path, PLAIN | {"split": split}), Columns())
    assert [note.id for note in rows.notes] == [NoteId.SPLITS_GUESSED]
    named = read_table(parquet(tmp_path, PLAIN), Columns())
    assert content(rows) == content(named)
    assert named.notes == ()
    # Said, they are no guess.
    said = Columns(splits={"0": "train", "1": "val", "2": "test"})
    again = read_table(parquet(tmp_path, PLAIN | {"split": split}), said)
    assert (content(again), again.notes) == (content(named), ())


@pytest.mark.parametrize(
    ("written", "splits", "expected"),
    [
        (NUMBERED, {"0": "test", "1": "train", "2": "val"}, ["test"] * 4 + ["train", "val"]),
        (NUMBERED, {"0": "train", "1": "train", "2": "test"}, ["train"] * 5 + ["test"]),
        (["True"] * 5 + ["False"], {"True": "train", "False": "test"}, ["train"] * 5 + ["test"]),
        ([True] * 5 + [False], {"True": "train", "False": "test"}, ["train"] * 5 + ["test"]),
        ([1.0] * 5 + [0.0], {"1": "train", "0.0": "test"}, ["train"] * 5 + ["test"]),
        (["fit"] * 5 + ["True"], {"fit": "train", "True": "odd"}, ["train"] * 5 + ["odd"]),
    ],
)
def test_any_values_may_stand_for_splits(
    tmp_path: Path, written: list[object], splits: dict[str, str], expected: list[str]
) -> None:
    columns = PLAIN | {"split": written, "y": ["0", "1", "1", "0", "1", "0"]}
    if expected[0] != "train":
        columns["y"] = ["0"] * N
    rows = read_table(parquet(tmp_path, columns), Columns(splits=splits))
    assert [rows.splits[index] for index in rows.split_index] == expected
    assert rows.notes == ()


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ({"0": "train", "1": "val"}, "row 5 .*'split' is '2'; splits= names only '0' .train., '1' .val."),
        ({"0": "train", "1": "val", "2": "test", "3": "ood"}, "splits= names '3' .ood., but no row has it"),
    ],
)
def test_a_mapping_names_every_value_and_no_other(tmp_path: Path, splits: dict[str, str], said: str) -> None:
    with pytest.raises(ServiceError, match=said) as caught:
        read_table(parquet(tmp_path, PLAIN | {"split": NUMBERED}), Columns(splits=splits))
    assert caught.value.kind is ErrorKind.BAD_TABLE


def test_two_numbers_are_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"no row has the split 'train'.* got: 0, 1.*splits=\{'train': '0', "):
        read_table(csv(tmp_path, PLAIN | {"split": ["0"] * 5 + ["1"]}), Columns())


def test_published_layouts_have_their_own_splits(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="splits are named for layout='table'"):
        read_layout("waterbirds", tmp_path, Columns(splits={"0": "train"}), tmp_path / "unpacked")
