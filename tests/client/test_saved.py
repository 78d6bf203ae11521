"""Records written to files and read back, equal in every field; files that are no records are refused."""

import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import penult
from penult import saved
from penult.files import saved as files_saved
from penult.files.savable import Savable
from penult.results.notes import Note

KNOWN = saved._known()
SAVABLE = sorted(name for name, kind in KNOWN.items() if issubclass(kind, Savable))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ARRAYS = {np.float64: np.float64, np.float32: np.float32, np.int64: np.int64, np.uint64: np.uint64, np.bool_: np.bool_}


def values(hint: Any) -> st.SearchStrategy:
    """Values of a field's type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if (alias := getattr(origin, "__value__", None)) is not None:  # NDArray, from Python 3.12 on
        return values(alias[arguments])
    if hint is Note:
        return st.builds(Note, TEXTS, TEXTS)
    if isinstance(hint, type) and is_dataclass(hint):
        return records(hint)
    if origin in (Union, UnionType):
        return st.one_of(*(values(one) for one in arguments))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is Sequence:
        return st.lists(values(arguments[0]), max_size=2).map(tuple)
    if origin is tuple:
        members = [values(one) for one in arguments if one is not Ellipsis]
        return st.lists(members[0], max_size=2).map(tuple) if Ellipsis in arguments else st.tuples(*members)
    if origin in (Mapping, dict):
        return st.dictionaries(values(arguments[0]), values(arguments[1]), max_size=2)
    if origin is np.ndarray:
        (kind,) = get_args(arguments[1])
        return hnp.arrays(
            ARRAYS.get(kind, np.float16), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
        )
    simple = {
        str: TEXTS,
        bool: st.booleans(),
        int: st.integers(-(2**70), 2**70),
        float: st.floats(),
        NoneType: st.none(),
        datetime: st.datetimes(timezones=st.just(UTC)),
        Any: st.none(),
    }
    return simple[hint]


def records(kind: type) -> st.SearchStrategy:
    if kind is penult.Head:
        rows = hnp.arrays(np.float64, (2, 3))
        return st.builds(penult.Head, rows, rows.map(lambda one: one[:, 0]), classes=st.none() | st.just(("a", "b")))
    hints = get_type_hints(kind, localns=KNOWN)
    return st.deferred(lambda: st.builds(kind, **{one.name: values(hints[one.name]) for one in fields(kind)}))


def check_same(first: Any, second: Any) -> None:
    assert type(first) is type(second)
    if is_dataclass(first):
        for one in fields(first):
            check_same(getattr(first, one.name), getattr(second, one.name))
    elif isinstance(first, np.ndarray):
        assert first.dtype == second.dtype
        np.testing.assert_array_equal(first, second)
    elif isinstance(first, Mapping):
        assert list(first) == list(second)
        check_same(list(first.values()), list(second.values()))
    elif isinstance(first, tuple | list):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            check_same(one, other)
    else:
        assert first == second or (math.isnan(first) and math.isnan(second))
        assert getattr(first, "id", None) == getattr(second, "id", None)


def test_these_records_can_be_saved():
    assert {"Refit", "Spectra", "RunSpectra", "Metrics", "Run", "Head", "Descriptors", "Predictions"} <= set(SAVABLE)


@pytest.mark.parametrize("name", SAVABLE)
def test_every_record_comes_back_equal(tmp_path_factory, name):
    path = tmp_path_factory.mktemp("saved") / "record.npz"

    @settings(max_examples=15, deadline=None)
    @given(records(KNOWN[name]))
    def check(record):
        record.save(path)
        check_same(record, penult.load(path))
        with np.load(path, allow_pickle=False) as archive:
            for member in archive.files:
                archive[member]
        assert [one.name for one in path.parent.iterdir()] == [path.name]

    check()


def test_what_was_one_record_is_one_again(tmp_path):
    """`Selection.chosen` is one of the candidates, and the frame marks it as chosen by that."""
    from penult.results.refits import Candidate

    numbers = {"score": 0.5, "worst_group_accuracy": 0.5, "average_accuracy": 0.5, "converged": True, "step": 0}
    candidates = tuple(Candidate(values={"l1": 0.1}, **numbers) for _ in range(3))
    selection = penult.Selection(metric="worst_group", candidates=candidates, chosen=candidates[1])
    selection.save(tmp_path / "out")
    assert penult.load(tmp_path / "out").to_frame()["chosen"].tolist() == [False, True, False]


def saved_head(path) -> None:
    penult.Head(np.ones((2, 3)), np.zeros(2)).save(path)


def rewritten(path, change) -> None:
    """Change the header of a saved record."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = json.loads(members[files_saved.HEADER])
    change(header)
    members[files_saved.HEADER] = json.dumps(header).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 half", b"\x80\x04K\x01."])
def test_files_of_others_are_refused(tmp_path, content):
    (tmp_path / "out").write_bytes(content)
    with pytest.raises(penult.InvalidRequest, match="no record of penult"):
        penult.load(tmp_path / "out")
    np.savez(tmp_path / "out.npz", x=np.ones(3))
    with pytest.raises(penult.InvalidRequest, match=r"client\.features\.load reads arrays"):
        penult.load(tmp_path / "out.npz")
    with pytest.raises(penult.InvalidRequest, match="there is no"):
        penult.load(tmp_path / "missing")


def later_format(header: dict) -> None:
    header["penult_record"] = 2


def unknown_record(header: dict) -> None:
    header["content"]["record"][0] = "Refit2"


def unknown_field(header: dict) -> None:
    header["content"]["record"][1]["temperature"] = 1.0


def unknown_kind(header: dict) -> None:
    header["content"]["record"][1]["classes"] = {"sparse": []}


@pytest.mark.parametrize("change", [later_format, unknown_record, unknown_field, unknown_kind])
def test_files_of_a_newer_penult_are_told(tmp_path, change):
    saved_head(tmp_path / "out")
    rewritten(tmp_path / "out", change)
    with pytest.raises(penult.VersionMismatch, match="written by a newer penult"):
        penult.load(tmp_path / "out")


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_an_altered_header_ends_in_a_head_or_in_a_refusal(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("altered") / "out"
    saved_head(path)
    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["record", "same", "array", "scalar", "tuple", "dict", "float", "time", "note"]),
                inner,
                max_size=1,
            )
        ),
        max_leaves=6,
    )
    content = data.draw(json_values)

    def change(header: dict) -> None:
        header["content"]["record"][1]["weight"] = content

    rewritten(path, change)
    try:
        found = penult.load(path)
    except penult.PenultError:
        return
    assert isinstance(found, penult.Head)
    assert found.weight.shape[0] == 2


def test_objects_in_the_arrays_are_refused(tmp_path):
    saved_head(tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "out") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    np.save(buffer := io.BytesIO(), np.array([[object]], dtype=object))
    members["array_0.npy"] = buffer.getvalue()
    with zipfile.ZipFile(tmp_path / "out", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(penult.InvalidRequest, match="Python objects"):
        penult.load(tmp_path / "out")


def test_half_files_are_refused(tmp_path):
    saved_head(tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    for length in range(0, len(content), 97):
        (tmp_path / "half").write_bytes(content[:length])
        with pytest.raises(penult.InvalidRequest):
            penult.load(tmp_path / "half")


def test_nothing_is_written_where_it_cannot_be(tmp_path):
    with pytest.raises(penult.InvalidRequest, match="no directory"):
        saved_head(tmp_path / "missing" / "out")
    with pytest.raises(penult.InvalidRequest, match="name a file"):
        saved_head(tmp_path)
    assert not list(tmp_path.iterdir())
