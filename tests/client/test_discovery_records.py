"""Records about groups that were found: the share of the gap closed, and tables."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.metrics import adjusted_rand_score

from penult.results.groupings.consensus import consensus_values
from penult.results.groupings.discovery_table import DiscoveryRow, DiscoveryTable
from penult.results.groupings.gap import gap_share
from penult.results.groupings.scores import GroupingScore, GroupingScores, GroupingStability

NAN = math.nan


def heads(n: int, accuracies: list[list[float]], seed: int = 0) -> tuple[list[NDArray[np.bool_]], NDArray[np.int64]]:
    """Whether three heads with the given accuracies in each group are right, dependently; and the rows' groups."""
    rng = np.random.default_rng(seed)
    g = rng.integers(0, len(accuracies[0]), n)
    difficulty = rng.random(n)
    return [np.asarray(own)[g] > difficulty for own in accuracies], g


def test_a_share_is_of_the_way_from_none_to_the_true_groups() -> None:
    (none, found, true), g = heads(4000, [[0.9, 0.4], [0.9, 0.7], [0.85, 0.8]])
    share = gap_share(none, found, true, g)
    assert share.share == pytest.approx(0.75, abs=0.03)
    assert share.low < 0.75 < share.high
    assert gap_share(none, true, true, g).share == 1
    assert gap_share(none, none, true, g).high == 0


def test_the_interval_is_that_of_rows_drawn_within_their_groups() -> None:
    (none, found, true), g = heads(300, [[0.9, 0.4], [0.9, 0.7], [0.85, 0.8]])
    share = gap_share(none, found, true, g, replicates=4000)
    rng = np.random.default_rng(1)
    drawn = []
    for _ in range(2000):
        rows = np.concatenate([rng.choice(np.flatnonzero(g == one), (g == one).sum()) for one in (0, 1)])
        worst = [min(one[rows][g[rows] == group].mean() for group in (0, 1)) for one in (none, found, true)]
        drawn.append((worst[1] - worst[0]) / (worst[2] - worst[0]))
    assert [share.low, share.high] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.02)


def test_without_a_gap_there_is_no_interval() -> None:
    (none, found, true), g = heads(200, [[0.9, 0.7], [0.9, 0.7], [0.9, 0.71]])
    assert math.isnan(gap_share(none, found, true, g).low)
    assert math.isnan(gap_share(true, found, none, g).share)


def row(method: str, **fields: object) -> DiscoveryRow:
    numbers = dict.fromkeys(
        ("ari", "p_value", "minority_precision", "minority_recall", "imbalance_p", "average_accuracy"), NAN
    )
    gaps = dict.fromkeys(("gap_closed", "gap_low", "gap_high", "seconds"), NAN)
    return DiscoveryRow(
        **{"method": method, "grouping": "", "n_groups": 0, "worst_group_accuracy": NAN, "failure": ""}
        | numbers
        | gaps
        | fields
    )


def test_a_table_prints_its_rows_and_why_some_are_empty() -> None:
    table = DiscoveryTable(
        rows=(
            row("none", worst_group_accuracy=0.5),
            row("xrm", n_groups=4, ari=0.71, gap_closed=0.9, gap_low=0.8, gap_high=1.04, seconds=2.0),
            row("ssa", failure="needs a set with an attribute: other=..."),
        ),
        features="f" * 64,
        test="a" * 64,
        preset="dfr",
    )
    text = repr(table)
    cells = ["xrm", "4", "0.710", *["–"] * 5, "0.90", "0.80", "..", "1.04", "2.0"]
    assert text.splitlines()[2].split() == cells
    assert "note: ssa: needs a set" in text
    assert "imbalance p" not in text
    assert "imbalance p" in repr(replace(table, rows=(row("xrm", imbalance_p=0.25),)))
    assert table["xrm"].ari == 0.71
    assert len(table) == 3
    assert table.to_frame()["method"].tolist() == ["none", "xrm", "ssa"]
    assert "0.710" in table._repr_html_()


def test_scores_print_a_line_for_each_class() -> None:
    numbers = {name: 0.5 for name in GroupingScore.__dataclass_fields__ if name not in ("name", "n_rows")}
    one = GroupingScore(name="cat", n_rows=10, **(numbers | {"minority": "out", "minority_found": "1"}))
    overall = GroupingScore(name="all", n_rows=10, **(numbers | {"minority": "", "minority_found": ""}))
    scores = GroupingScores(grouping="a" * 64, truth="stored", classes=(one,), overall=overall)
    assert "out (as 1)" in repr(scores)
    assert scores.to_frame()["name"].tolist() == ["cat", "all"]
    assert "out (as 1)" in scores._repr_html_()


@pytest.mark.parametrize("seed", range(5))
def test_a_consensus_is_scipys_average_linkage_of_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, 80)
    true = rng.integers(0, 2, 80)
    values = np.stack([np.where(rng.random(80) < 0.8, true, rng.integers(-1, 3, 80)) for _ in range(5)])
    found, agreement = consensus_values(values, y, 2)
    for one in (0, 1):
        rows = values[:, y == one]
        both = (rows[:, :, None] >= 0) & (rows[:, None, :] >= 0)
        same = (both & (rows[:, :, None] == rows[:, None, :])).sum(axis=0) / np.maximum(both.sum(axis=0), 1)
        np.fill_diagonal(same, 1)
        # SciPy breaks ties between equal distances in another way: what is compared is how good the partition is.
        tree = linkage(squareform(1 - same, checks=False), "average")
        expected = fcluster(tree, 2, "maxclust") - 1
        if len(set(tree[:, 2])) == len(tree):
            assert adjusted_rand_score(expected, found[y == one]) == 1
        assert adjusted_rand_score(true[y == one], found[y == one]) > 0.5
    assert ((agreement > 0) & (agreement <= 1)).all()


def test_groupings_that_agree_are_their_consensus() -> None:
    values = np.array([[0, 0, 1, 0, 1, 1], [1, 1, 0, 1, 0, 0]])
    found, agreement = consensus_values(values, np.array([0, 0, 0, 1, 1, 1]), 2)
    # The largest of each class is 0.
    assert found.tolist() == [0, 0, 1, 1, 0, 0]
    assert agreement.tolist() == [1] * 6
    with pytest.raises(ValueError, match="combinations"):
        consensus_values(np.arange(1500)[None].astype(np.int64), np.zeros(1500, np.int64), 2)


def test_stability_is_the_mean_of_every_two() -> None:
    ari = np.array([[1, 0.2, 0.4], [0.2, 1, 0.6], [0.4, 0.6, 1]])
    stability = GroupingStability(method="xrm", groupings=("a", "b", "c"), seeds=(0, 1, 2), ari=ari)
    assert stability.mean_ari == pytest.approx(0.4)
    assert "0.400" in repr(stability)
    alone = GroupingStability(method="xrm", groupings=("a",), seeds=(0,), ari=np.ones((1, 1)))
    assert math.isnan(alone.mean_ari)
