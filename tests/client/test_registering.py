"""What a registration sends of a table's columns and splits, and what it refuses first."""

from typing import Any

import pytest

from penult import errors
from penult.calls.datasets import columns_message


@pytest.mark.parametrize(
    ("splits", "sent"),
    [
        (None, {}),
        ({"train": 0, "val": 1, "test": 2}, {"0": "train", "1": "val", "2": "test"}),
        ({"train": ["a", "b"], "test": "c"}, {"a": "train", "b": "train", "c": "test"}),
        ({"train": True, "test": False}, {"True": "train", "False": "test"}),
        ({"train": 1.0, "test": 0.0}, {"1.0": "train", "0.0": "test"}),
    ],
)
def test_splits_are_sent_by_their_values(splits: Any, sent: dict[str, str]) -> None:
    assert dict(columns_message({}, splits).splits) == sent


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ({}, "splits is empty"),
        ({0: "train"}, "from names of splits to values"),
        ({"train": 0, "val": 0}, "splits gives 0 to 'train' and to 'val'"),
        ([0, 1, 2], "splits takes a dict"),
    ],
)
def test_splits_that_say_nothing_clear_are_refused(splits: Any, said: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=said):
        columns_message({}, splits)


def test_a_column_without_a_name_is_refused() -> None:
    columns: Any
    for columns in ({"y": ""}, {"attributes": []}, {"text": ()}):
        with pytest.raises(errors.InvalidRequest, match="is empty; name a column"):
            columns_message(columns, None)
