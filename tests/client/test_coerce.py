"""What people pass: taken where it has one meaning, else refused by the name of its argument with the mend."""

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from google.protobuf.message import Message

import penult
from penult import errors
from penult.arguments import coerce, coerce_arrays
from penult.wire import encode_refits, references, uploads
from penult_proto.v1 import refits_pb2

X = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.mark.parametrize("value", [6, 6.0, np.int8(6), np.float32(6), np.array(6), Decimal(6), torch.tensor(6)])
def test_a_count_is_taken_in_every_dress(value: Any) -> None:
    found = coerce.whole("top_k", value)
    assert (found, type(found)) == (6, int)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (True, "top_k must be a whole number; got True"),
        (2.5, "whole number; got 2.5"),
        ("6", "whole number; got '6'"),
        (np.array([6]), "whole number"),
        (2**31, "at most 2147483647"),
        (0, "at least 1"),
        (float("nan"), "whole number"),
    ],
)
def test_what_is_no_count(value: Any, said: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=said):
        coerce.whole("top_k", value)


@pytest.mark.parametrize("value", [True, np.True_, "0.1", b"1", 1j, None, [1.0], np.ones(1), 10**400, float("inf")])
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(errors.InvalidRequest, match="l2 must be"):
        coerce.number("l2", value)


@pytest.mark.parametrize("value", [1, 0, "true", None, np.ones(1, bool)])
def test_a_number_is_no_bool(value: Any) -> None:
    with pytest.raises(errors.InvalidRequest, match="plan must be True or False"):
        coerce.flag("plan", value)


@pytest.mark.parametrize(
    ("value", "said"),
    [("\ud800", "half of a character"), (b"x", "decode"), (3, "name is text"), ("x" * 10**6, "1000000 characters")],
)
def test_what_is_no_text(value: Any, said: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=said):
        coerce.text("name", value)


def test_what_protobuf_refuses_names_the_field() -> None:
    with pytest.raises(errors.InvalidRequest, match="seed cannot be sent") as caught:
        coerce.build(refits_pb2.RefitRequest, feature_set="x", seed=-1)
    assert caught.value.metadata["argument"] == "seed"


LABELS = [
    [0, 1, 1, 0],
    [0.0, 1.0, 1.0, 0.0],
    [False, True, True, False],
    np.array([0, 1, 1, 0], ">i2"),
    np.array([0, 1, 1, 0], object),
    torch.tensor([0, 1, 1, 0]),
    pd.Series([0, 1, 1, 0], dtype="Int64"),
    pd.Series([0.0, 1.0, 1.0, 0.0], index=[9, 8, 7, 6]),
    pd.Index([0, 1, 1, 0]),
]


@pytest.mark.parametrize("y", LABELS, ids=lambda y: f"{type(y).__name__} {getattr(y, 'dtype', '')}")
def test_labels_are_indices_in_every_dress(y: Any) -> None:
    upload = uploads.prepare(X, y)
    assert upload.arrays["y"].dtype == np.int64
    assert upload.arrays["y"].tolist() == [0, 1, 1, 0]
    assert (list(upload.labels.classes), upload.notes) == ([], ())


@pytest.mark.parametrize("make", [list, np.array, pd.Series, pd.Categorical, lambda y: np.array(y, object)])
def test_names_as_labels_are_sorted_to_become_the_classes(make: Any) -> None:
    upload = uploads.prepare(X, make(["dog", "cat", "cat", "dog"]), make(["in", "out", "in", "in"]))
    assert list(upload.labels.classes) == ["cat", "dog"]
    assert list(upload.labels.attribute_values) == ["in", "out"]
    assert upload.arrays["y"].tolist() == [1, 0, 0, 1]
    assert upload.arrays["a"].tolist() == [0, 1, 0, 0]
    assert [note.id for note in upload.notes] == ["classes_from_labels"] * 2
    assert "['cat', 'dog']" in upload.notes[0]


def test_labels_are_looked_up_in_the_names_given() -> None:
    by_name = uploads.prepare(X, ["dog", "cat", "cat", "dog"], classes=["dog", "cat", "wolf"])
    assert (by_name.arrays["y"].tolist(), list(by_name.labels.classes)) == ([0, 1, 1, 0], ["dog", "cat", "wolf"])
    assert by_name.notes == ()
    by_value = uploads.prepare(X, [-1, 1, 1, -1], [3, 3, 1, 2], classes=[1, -1], attribute_values=np.array([1, 2, 3]))
    assert (by_value.arrays["y"].tolist(), list(by_value.labels.classes)) == ([1, 0, 0, 1], ["1", "-1"])
    assert (by_value.arrays["a"].tolist(), list(by_value.labels.attribute_values)) == ([2, 2, 0, 1], ["1", "2", "3"])
    # A class without a row: its name is what says that there is one.
    assert uploads.prepare(X, [1, 2, 1, 2], classes=["a", "b", "c"]).arrays["y"].tolist() == [1, 2, 1, 2]


@pytest.mark.parametrize(
    ("replaced", "said"),
    [
        ({"y": [-1, 1, 1, -1]}, r"y = \(np.asarray\(y\) \+ 1\) // 2.*classes=\[-1, 1\]"),
        ({"y": [1, 2, 3, 1]}, r"y = np.asarray\(y\) - 1.*classes=\[1, 2, 3\]"),
        ({"y": [1, 2, 1, 2], "classes": ["a", "b"]}, r"y = np.asarray\(y\) - 1"),
        ({"y": [-5, 0, 7, 0]}, r"np.unique\(y, return_inverse=True\)\[1\]"),
        ({"a": [1, 2, 2, 1]}, r"a = np.asarray\(a\) - 1.*attribute_values="),
        ({"y": pd.Series([0, None, 1, None], dtype="Int64")}, "y has no value in rows 1, 3"),
        ({"y": [0, None, 1, 0]}, "y has no value in row 1"),
        ({"y": np.ma.masked_array([0, 1, 1, 0], mask=[0, 0, 1, 0])}, "y has no value in row 2"),
        ({"y": np.array([0.0, np.nan, 1.0, 0.5])}, "y must be integers; got nan in rows 1, 3"),
        (
            {"y": ["cat", "dog", "cat", "cat"], "classes": ["cat", "wolf"]},
            r"'dog' in row 1.*classes: \['cat', 'wolf'\]",
        ),
        ({"y": ["cat", 1, 2, 3]}, "all of one sort; got int, str"),
        ({"y": [2**70, 0, 0, 0]}, "beyond 64 bits"),
        ({"y": ["\ud800", "a", "a", "a"]}, "lone surrogate"),
        ({"y": ["", "a", "a", "a"]}, "with a name"),
        ({"classes": ["a", "a"]}, "each label once"),
        ({"classes": {"a", "b"}}, "classes takes a list"),
        ({"features": X.tolist()}, r"np.asarray\(features, np.float32\)"),
        ({"features": torch.tensor(X).double()}, r"features.to\(torch.float32\)"),
        ({"features": [[1.0], [2.0, 3.0]]}, "features cannot be read as an array"),
        ({"row_id": ["a", "b", "c", "d"]}, "row_id must be integers"),
        ({"masks": {"m": [0, 1, 2, 0]}}, "'m' must be bool"),
        ({"head": (np.ones((2, 3)), np.ones(3))}, r"weight \(C, D\) and bias \(C,\)"),
        ({"train_counts": {"0": 3}}, "none for .'1'"),
        ({"train_counts": {"2": 3}}, "'2' names no group"),
        ({"train_counts": {"0": 3, 0: 3}}, "named before"),
        ({"train_counts": {"0": 3, "1": 2.5}}, "whole number"),
        ({"train_counts": {"0": 0, "1": 0}}, "only zeros"),
    ],
)
def test_what_an_upload_cannot_mean(replaced: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"features": X, "y": [0, 1, 1, 0]}
    with pytest.raises(errors.InvalidRequest, match=said):
        uploads.prepare(**(given | replaced))


def test_tensors_are_taken_exactly() -> None:
    tensor = (torch.arange(12.0).reshape(4, 3) / 7).bfloat16()
    found = uploads.prepare(tensor.requires_grad_(), torch.tensor([0, 1, 1, 0])).arrays["features"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, tensor.detach().float().numpy())


def test_training_counts_by_every_name_of_a_group() -> None:
    upload = uploads.prepare(
        X,
        ["cat", "dog", "cat", "dog"],
        ["in", "in", "out", "out"],
        train_counts={("cat", "in"): 5, "cat, out": np.int64(1), (1, 0): 2.0, 3: 4},
    )
    assert upload.train_counts == [5, 1, 2, 4]


def test_a_head_is_made_of_whatever_has_numbers() -> None:
    layer = torch.nn.Linear(3, 2)
    for head in (penult.Head(layer.weight, layer.bias), encode_refits.as_head(layer)):  # pyright: ignore[reportArgumentType]
        assert head.weight.dtype == np.float64
        np.testing.assert_array_equal(head.logits(X), X.astype(float) @ head.weight.T + head.bias)
    soup = penult.soup([([[1, 2], [3, 4]], [0, 0]), penult.Head(np.zeros((2, 2)), np.ones(2))], weights=[3, 1])
    np.testing.assert_allclose(soup.weight, [[0.75, 1.5], [2.25, 3.0]])
    np.testing.assert_allclose(soup.bias, [0.25, 0.25])
    for wrong in (3, "x", [penult.Head([[1.0]], [0.0])] * 2, (np.ones(3), np.ones(3))):
        with pytest.raises(errors.InvalidRequest):
            encode_refits.as_head(wrong)


@pytest.mark.parametrize(
    ("sort", "name", "hint"),
    [
        (references.feature_set_name, "Run", "client.extract"),
        (references.checkpoint_digest, "Run", r"run.checkpoints\[-1\]"),
        (references.checkpoint_digest, "Job", r"job.wait\(\).checkpoints\[-1\]"),
        (references.feature_set_name, "dict", r"sets\['train'\]"),
        (references.run_id, "Job", r"job.wait\(\)"),
    ],
)
def test_another_record_is_refused_with_what_to_pass(sort: Any, name: str, hint: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=hint):
        sort(type(name, (), {})() if name != "dict" else {})


def test_lists_are_taken_where_arrays_are_meant() -> None:
    made: Message = encode_refits.refit_request(
        {"features": "x", "weights": [1, 2.5], "rows": [0, 2], "top_k": 6.0, "center": ([[1.0]], [0.0])}  # pyright: ignore[reportArgumentType]
    )
    assert isinstance(made, refits_pb2.RefitRequest)
    assert made.rows.top_k == 6
    np.testing.assert_array_equal(np.frombuffer(made.weights.explicit.data), [1, 2.5])
    with pytest.raises(errors.InvalidRequest, match=r"np.flatnonzero\(rows\)"):
        coerce_arrays.row_ids(np.ones(3, bool))
