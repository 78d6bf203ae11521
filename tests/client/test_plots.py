"""Figures hold the numbers they show, and can be written."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from numpy.typing import NDArray

from penult.plots import plot_history, plot_spectra, save
from penult.results.metrics import EpochMetrics, Metrics
from penult.results.records import Checkpoint, Group, Run
from penult.results.run_spectra import RunSpectra
from penult.results.spectra import Imbalance, Spectra
from penult.wire import decode
from penult_proto.v1 import runs_pb2


def groups(counts: tuple[int, ...]) -> tuple[Group, ...]:
    names = [(y, a) for y in ("sneaker", "ankle boot", "sandal") for a in ("grass", "gravel")]
    return tuple(
        Group(
            index=index,
            name=f"{names[index][0]}, {names[index][1]}",
            y=index // 2,
            a=index % 2,
            class_name=names[index][0],
            attribute_value=names[index][1],
            count=count,
        )
        for index, count in enumerate(counts)
    )


def spectra(counts: tuple[int, ...] = (950, 50, 40, 900), n_kept: int = 20) -> Spectra:
    """Power-law spectra; rows of empty groups are NaN."""
    members = groups(counts)
    scale = np.array([1.0 + index if count else np.nan for index, count in enumerate(counts)])
    eigenvalues = 5 * scale[:, None] / np.arange(1, n_kept + 1) ** 1.2
    minority, majority = members[1], members[0]
    entry = Imbalance(
        y=0,
        class_name="sneaker",
        minority=minority.name,
        majority=majority.name,
        minority_index=1,
        majority_index=0,
        n_minority=minority.count,
        n_majority=majority.count,
        ratio=2.0,
        matched_ratio=1.6,
        low=1.2,
        high=2.1,
        p_value=0.01,
        p_adjusted=0.02,
        replicate_error=1e-9,
    )
    return Spectra(
        digest="d",
        feature_set="f",
        by="group",
        groups=members,
        eigenvalues=eigenvalues,
        residuals=np.zeros_like(eigenvalues),
        trace=eigenvalues.sum(1),
        methods=("full",) * len(members),
        converged=np.ones(len(members), dtype=np.bool_),
        imbalance=(entry,),
        correction=0,
        center=True,
        replicates=200,
        confidence=0.95,
        seed=0,
        n_rows=sum(counts),
        n_examples=sum(counts),
        rows_of_run="",
        reused=False,
    )


def metrics(accuracy: list[float]) -> Metrics:
    members = groups((250,) * len(accuracy))
    worst = int(np.argmin(accuracy))
    return Metrics(
        groups=members,
        correct=np.round(250 * np.array(accuracy)).astype(np.int64),
        group_accuracy=np.array(accuracy),
        group_low=np.array(accuracy),
        group_high=np.array(accuracy),
        confusion=np.zeros((len(accuracy), 2), dtype=np.int64),
        average_accuracy=float(np.mean(accuracy)),
        weighted_average_accuracy=float(np.mean(accuracy)),
        worst_group_accuracy=accuracy[worst],
        worst_group=members[worst],
        worst_class_accuracy=0.5,
        balanced_accuracy=0.6,
        mean_group_accuracy=float(np.mean(accuracy)),
        loss=0.3,
        brier=0.1,
        ece=0.05,
        ece_bins=15,
        auroc=0.9,
        average_weights=np.full(len(accuracy), 1 / len(accuracy)),
        masks=(),
        worst_mask=None,
        worst_mask_accuracy=float("nan"),
    )


def run(history: tuple[EpochMetrics, ...]) -> Run:
    spec = decode.finetune_spec(runs_pb2.FinetuneSpec(dataset="footwear", backbone="test_resnet"))
    checkpoints: tuple[Checkpoint, ...] = ()
    return Run(
        id="r",
        spec=spec,
        dataset_digest="d",
        n_train_examples=2000,
        checkpoints=checkpoints,
        history=history,
        created=None,
        steps_per_epoch=63,
        train_seconds=1.0,
    )


HISTORY = tuple(
    EpochMetrics(epoch=epoch, split=split, metrics=metrics(accuracy))
    for epoch, accuracy in enumerate([[0.5, 0.45, 0.6, 0.5], [0.95, 0.4, 0.5, 0.94], [0.98, 0.58, 0.62, 0.97]])
    for split in ("train", "val", "test")
)


def lines(axis: Axes) -> dict[str, NDArray[np.float64]]:
    return {str(line.get_label()): np.asarray(line.get_ydata(), dtype=np.float64) for line in axis.get_lines()}


def is_png(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


def test_spectra_are_drawn_per_class_with_counts_and_the_minority_marked(tmp_path: Path) -> None:
    answer = spectra()
    figure = plot_spectra(answer, top_k=10)
    first, second, _ = figure.axes
    assert (first.get_title("left"), second.get_title("left")) == ("sneaker", "ankle boot")
    drawn = lines(first)
    assert set(drawn) == {"grass (n=950)", "gravel (n=50, minority)"}
    np.testing.assert_array_equal(drawn["gravel (n=50, minority)"], answer.eigenvalues[1, :10])
    assert first.get_yscale() == "log"
    save(figure, tmp_path / "new" / "spectra.png")
    assert is_png(tmp_path / "new" / "spectra.png")


@pytest.mark.parametrize("counts", [(950, 50, 0, 900), (0, 0, 0, 900), (5, 3, 2, 900, 8, 1)])
def test_empty_groups_and_many_classes_can_be_drawn(counts: tuple[int, ...], tmp_path: Path) -> None:
    figure = spectra(counts).plot()
    assert len(figure.axes) == len(counts) // 2 + 1
    save(figure, tmp_path / "spectra.png")
    assert is_png(tmp_path / "spectra.png")


def test_the_imbalance_is_drawn_with_its_interval(tmp_path: Path) -> None:
    axis = spectra().plot().axes[-1]
    points = [(line.get_xdata(), line.get_markerfacecolor()) for line in axis.get_lines()]
    drawn = [np.asarray(x, dtype=np.float64).tolist() for x, _ in points]
    assert drawn[:4] == [[1.0, 1.0], [1.2, 2.1], [1.6], [2.0]]
    assert points[3][1] == "white"
    header, numbers = (text.get_text().split() for text in axis.texts)
    assert header == ["measured", "at", "equal", "n", "[95%]", "p", "n"]
    assert " ".join(numbers) == "2.00 1.60 [1.20, 2.10] 0.020 50 / 950"
    assert [label.get_text() for label in axis.get_yticklabels()] == ["sneaker\ngravel / grass"]
    low, high = axis.get_xlim()
    assert low < 1.0
    assert high > 2.1


def test_unbounded_intervals_and_no_replicates_can_be_drawn(tmp_path: Path) -> None:
    answer = spectra()
    unbounded = replace(answer.imbalance[0], low=0.0, high=float("inf"))
    save(replace(answer, imbalance=(unbounded,)).plot(), tmp_path / "unbounded.png")
    nan = float("nan")
    bare = replace(unbounded, matched_ratio=nan, low=nan, high=nan, p_value=nan, p_adjusted=nan)
    figure = replace(answer, imbalance=(bare,), replicates=0).plot()
    assert figure.axes[-1].texts[1].get_text().split() == ["2.00", "50", "/", "950"]
    save(figure, tmp_path / "bare.png")
    save(replace(answer, imbalance=()).plot(), tmp_path / "none.png")
    assert all(is_png(tmp_path / f"{name}.png") for name in ("unbounded", "bare", "none"))


def test_ratios_of_a_run_over_its_epochs(tmp_path: Path) -> None:
    first = spectra()
    second = replace(first, imbalance=(replace(first.imbalance[0], matched_ratio=1.1, low=0.9, high=1.4),))
    answer = RunSpectra(
        run="r", split="train", epochs=np.array([0.0, 1.0]), checkpoints=("a", "b"), spectra=(first, second)
    )
    assert answer.eigenvalues.shape == (2, 4, 20)
    np.testing.assert_array_equal(answer.matched_ratio, [[1.6], [1.1]])
    assert list(answer.to_frame()["low"]) == [1.2, 0.9]
    assert str(answer).splitlines()[-1].split() == ["1", "2.000", "(1.100)"]
    figure = answer.plot()
    np.testing.assert_array_equal(lines(figure.axes[0])["sneaker: gravel / grass"], [1.6, 1.1])
    save(figure, tmp_path / "run.png")
    assert is_png(tmp_path / "run.png")


def test_eigenvalues_of_zero_leave_a_gap_on_the_logarithmic_axis() -> None:
    answer = spectra()
    answer.eigenvalues[1, 3:] = 0.0
    drawn = lines(plot_spectra(answer).axes[0])["gravel (n=50, minority)"]
    np.testing.assert_array_equal(np.isnan(drawn), [False] * 3 + [True] * 7)


def test_history_shows_every_group_the_average_and_the_worst(tmp_path: Path) -> None:
    figure = plot_history(run(HISTORY))
    assert [axis.get_title("left") for axis in figure.axes] == ["train", "val", "test"]
    drawn = lines(figure.axes[2])
    np.testing.assert_array_equal(drawn["worst group"], [0.45, 0.4, 0.58])
    np.testing.assert_allclose(drawn["average"], [0.5125, 0.6975, 0.7875])
    np.testing.assert_array_equal(drawn["sneaker, grass"], [0.5, 0.95, 0.98])
    save(figure, tmp_path / "accuracies.png")
    assert is_png(tmp_path / "accuracies.png")


def test_history_of_a_run_that_measured_nothing(tmp_path: Path) -> None:
    save(run(()).plot(), tmp_path / "empty.png")
    assert is_png(tmp_path / "empty.png")
