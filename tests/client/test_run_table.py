"""Tables over seeds: against pandas; and what is not averaged."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import penult
from penult.calls.runs import Runs
from penult.results.lists.columns import run_row
from penult.results.lists.listing import Listing
from penult.wire import decode, recipes
from penult_proto.v1 import groups_pb2, runs_pb2

METRICS = ["worst_group_accuracy", "average_accuracy", "loss"]


def make_run(number: int, *, worst: float | None = None, **arguments: Any) -> penult.Run:
    """A run whose metrics are drawn from its number; measured on val and test, after epochs 1 and 2."""
    spec = recipes.finetune_spec({"dataset": "shapes", "backbone": "net", "epochs": 2, **arguments})
    groups = [groups_pb2.Group(index=index, name=f"g{index}", y=index, count=10) for index in range(2)]
    history = [
        runs_pb2.EpochMetrics(
            epoch=epoch,
            split=split,
            metrics=groups_pb2.Metrics(
                groups=groups,
                correct=[5, 5],
                group_accuracy=[0.5, 0.5],
                confusion=[5, 5, 5, 5],
                **dict(zip(METRICS, np.random.default_rng([number, epoch, len(split)]).random(3), strict=True)),
            ),
        )
        for epoch in (1, 2)
        for split in ("val", "test")
    ]
    message = runs_pb2.Run(id=f"{number:012d}", spec=spec, history=history, dataset_digest="d")
    if worst is not None:
        for entry in message.history:
            entry.metrics.worst_group_accuracy = worst
    return decode.run(message)


@pytest.fixture
def runs() -> list[penult.Run]:
    kinds: list[dict[str, Any]] = [
        {"balance": "none"},
        {"balance": "subsetting", "by": "group"},
        {"balance": "subsetting", "by": "class"},
        {"balance": "mixture", "by": "group", "ratio": 2.0},
        {"balance": "mixture", "by": "group", "ratio": 10.0},
    ]
    return [make_run(10 * i + seed, seed=seed, **kind) for i, kind in enumerate(kinds) for seed in range(i + 1)]


def table(runs: Iterable[penult.Run], **options: Any) -> penult.RunTable:
    """The table of runs that are given, without a server."""
    return Runs.table(object.__new__(Runs), runs, **options)


@pytest.mark.parametrize(("split", "epoch"), [("test", -1), ("val", 1)])
def test_means_deviations_and_counts_are_those_of_pandas(runs: list[penult.Run], split: str, epoch: int) -> None:
    keys = ["balance", "by", "ratio"]
    found = table(runs, by=keys, split=split, metric=METRICS, epoch=epoch).to_frame().set_index(keys)
    rows = [
        {
            **{key: getattr(run.spec, key) for key in keys},
            **{name: getattr(run.metrics(split, epoch), name) for name in METRICS},
        }
        for run in runs
    ]
    expected = pd.DataFrame(rows).groupby(keys, dropna=False)[METRICS].agg(["mean", "std", "count"])
    expected.columns = ["_".join(pair) for pair in expected.columns]
    assert len(found) == len(expected) == 5
    for index, row in expected.iterrows():
        (own,) = (one for key, one in found.iterrows() if repr(key) == repr(index))
        for metric in METRICS:
            np.testing.assert_allclose(own[f"{metric}_mean"], row[f"{metric}_mean"], rtol=1e-12)
            np.testing.assert_allclose(own[f"{metric}_std"], row[f"{metric}_std"], rtol=1e-9)
        assert own["n"] == row[f"{METRICS[0]}_count"]


def test_rows_come_in_the_order_of_their_values(runs: list[penult.Run]) -> None:
    found = table(reversed(runs), by=["balance", "by", "ratio"])
    values = [tuple(row.values.values()) for row in found.rows]
    assert values == [
        ("mixture", "group", 2.0),
        ("mixture", "group", 10.0),
        ("none", None, None),
        ("subsetting", "class", None),
        ("subsetting", "group", None),
    ]
    assert [row.n for row in found.rows] == [4, 5, 1, 3, 2]


def test_what_is_shown_says_the_divisor_and_what_else_differs(runs: list[penult.Run]) -> None:
    shown = repr(table(runs[1:3] + runs[-5:], by="balance", metric="worst_group_accuracy", split="val"))
    header, mixture, subsetting, said, also = shown.splitlines()
    assert header.split() == ["balance", "worst_group_accuracy", "n"]
    values = [run.metrics("val").worst_group_accuracy for run in runs[-5:]]
    assert mixture.split() == ["mixture", f"{np.mean(values):.3f}", "±", f"{np.std(values, ddof=1):.3f}", "5"]
    assert subsetting.split()[-1] == "2"
    assert said == "mean ± standard deviation (divisor n - 1) over seed; split val"
    assert also == "rows also differ in ratio"


def test_runs_that_differ_in_more_are_not_averaged(runs: list[penult.Run]) -> None:
    with pytest.raises(penult.InvalidRequest) as raised:
        table(runs, by="balance")
    for said in (
        "by: 'group' (run 000000000010)",
        "'class' (run 000000000020)",
        "across=['by']",
        "balance='subsetting'",
    ):
        assert said in str(raised.value), raised.value
    other = make_run(99, seed=9, balance="none", optimizer=penult.AdamW(learning_rate=0.5))
    with pytest.raises(penult.InvalidRequest, match=r"optimizer\.learning_rate: None \(run 0+\), 0\.5 \(run 0+99\)"):
        table([runs[0], other], by="balance")
    assert [row.n for row in table([runs[0], other], by="balance", across="optimizer").rows] == [2]
    assert [row.n for row in table([runs[0], other], by=["balance", "optimizer.learning_rate"]).rows] == [1, 1]
    changed = replace(runs[-1], dataset_digest="e")
    with pytest.raises(penult.InvalidRequest, match="dataset_digest"):
        table([runs[-2], changed], by="balance")


def test_one_recipe_twice_is_not_two_runs(runs: list[penult.Run]) -> None:
    twice = replace(runs[-1], id="f" * 12)
    with pytest.raises(penult.InvalidRequest, match=f"runs {runs[-1].id} and {'f' * 12} .* have one recipe"):
        table([*runs[-2:], twice], by="balance")


def test_options_of_a_group_are_fields_with_a_dot() -> None:
    """Fields within a group of options are compared, named, and reported as any other, and so is which group it is."""
    found = [
        make_run(i, seed=seed, optimizer=penult.AdamW(learning_rate=rate))
        for i, (rate, seed) in enumerate([(0.1, 0), (0.1, 1), (0.01, 0), (0.01, 1)])
    ]
    rows = table(found, by="optimizer.learning_rate").rows
    assert [row.values for row in rows] == [{"optimizer.learning_rate": 0.01}, {"optimizer.learning_rate": 0.1}]
    assert [row.n for row in rows] == [2, 2]
    assert [row.n for row in table(found, by="optimizer").rows] == [2, 2]
    with pytest.raises(penult.InvalidRequest, match=r"optimizer\.learning_rate: 0\.1"):
        table(found)
    other = make_run(9, seed=2, optimizer=penult.SGD(learning_rate=0.1))
    with pytest.raises(penult.InvalidRequest, match=r"optimizer: 'AdamW' .*, 'SGD' "):
        table([*found, other], by="optimizer.learning_rate")
    assert [row.n for row in table([*found[:2], other], by="optimizer").rows] == [2, 1]
    with pytest.raises(penult.InvalidRequest, match=r"did you mean 'optimizer\.learning_rate'"):
        table(found, by="optimizer.learning_rat")


def test_a_missing_number_makes_the_mean_a_missing_number(runs: list[penult.Run]) -> None:
    found = table([runs[-2], replace(make_run(49, worst=float("nan")), spec=runs[-1].spec)], by="balance")
    assert np.isnan(found.rows[0].mean["worst_group_accuracy"])
    assert np.isnan(found.rows[0].std["worst_group_accuracy"])
    assert np.isfinite(found.rows[0].mean["average_accuracy"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"by": "balanse"}, "did you mean 'balance'"),
        ({"over": "seeds"}, "did you mean 'seed'"),
        ({"metric": "worst_group"}, "worst_group_accuracy"),
        ({"metric": []}, "needs one at least"),
        ({"split": "nowhere", "by": ["balance", "by", "ratio"]}, "run 0+: no metrics of split 'nowhere'"),
    ],
)
def test_what_is_not_there_is_named(runs: list[penult.Run], options: dict[str, Any], said: str) -> None:
    with pytest.raises(penult.PenultError, match=said):
        table(runs, **options)
    with pytest.raises(penult.InvalidRequest, match="no run"):
        table([])


def test_a_list_prints_as_a_table_and_remains_a_list(runs: list[penult.Run]) -> None:
    listed = Listing([replace(run, tags=("a", "b")) for run in runs * 10], run_row)
    lines = repr(listed).splitlines()
    assert lines[0].split()[:3] == ["id", "dataset", "backbone"]
    assert lines[-1] == "... and 110 more"
    assert len(listed) == 150
    assert listed[0].id == runs[0].id
    assert listed[:2] == list(listed)[:2]
    frame = listed.to_frame()
    assert frame["tags"].tolist()[0] == ("a", "b")
    assert frame["worst_group_accuracy"].tolist()[:15] == [run.metrics("test").worst_group_accuracy for run in runs]
    assert repr(Listing([], run_row)) == "[]"
    assert len(Listing([], run_row).to_frame()) == 0
