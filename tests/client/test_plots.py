"""Figures hold the numbers they show, and can be written."""

import itertools
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from penult.plots import plot_history, plot_spectra, save
from penult.results.metrics import EpochMetrics, MaskMetrics, Metrics
from penult.results.neighbourhood.rates import NeighbourRate, NeighbourRates, RunNeighbours
from penult.results.notes import Note
from penult.results.records import Checkpoint, Group, Run
from penult.results.refits import Candidate, Interpolation, Selection
from penult.results.run_spectra import RunSpectra
from penult.results.spectra import Imbalance, Spectra
from penult.results.used_grouping import UsedGrouping
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


# Figures for a paper: of few and of many groups


def crowd(n_classes: int, n_values: int, name: str = "") -> tuple[Group, ...]:
    """Groups whose names all begin with `name`."""
    return tuple(
        Group(
            index=y * n_values + a,
            name=f"{name}class {y}, {name}value {a}",
            y=y,
            a=a,
            class_name=f"{name}class {y}",
            attribute_value=f"{name}value {a}",
            count=100 + 37 * (a * n_classes + y),
        )
        for y in range(n_classes)
        for a in range(n_values)
    )


def metrics_of(members: tuple[Group, ...], n_masks: int = 0, scale: float = 1.0) -> Metrics:
    """Accuracies between 0.5 and 0.95, times `scale`."""
    accuracy = scale * np.linspace(0.95, 0.5, len(members))
    masks = tuple(
        MaskMetrics(name=f"mask {i}", count=90, correct=60 + i, accuracy=(60 + i) / 90) for i in range(n_masks)
    )
    return replace(
        metrics([0.5, 0.6]),
        groups=members,
        correct=np.round(100 * accuracy).astype(np.int64),
        group_accuracy=accuracy,
        group_low=accuracy - 0.04,
        group_high=accuracy + 0.03,
        worst_group=members[-1],
        worst_group_accuracy=float(accuracy[-1]),
        average_weights=np.full(len(members), 1 / len(members)),
        masks=masks,
        worst_mask=masks[0] if masks else None,
    )


def spectra_of(members: tuple[Group, ...]) -> Spectra:
    """Power laws, and a comparison within each class."""
    template = spectra()
    by_class = {y: [one for one in members if one.y == y] for y in dict.fromkeys(one.y for one in members)}
    entries = tuple(
        replace(
            template.imbalance[0],
            y=y,
            class_name=own[0].class_name,
            minority=own[0].name,
            majority=own[-1].name,
            minority_index=own[0].index,
            majority_index=own[-1].index,
            n_minority=own[0].count,
            n_majority=own[-1].count,
            ratio=1.2 + 0.1 * y,
            matched_ratio=1.1 + 0.1 * y,
        )
        for y, own in by_class.items()
    )
    values = np.linspace(4, 9, len(members))[:, None] / np.arange(1, 21) ** 1.2
    return replace(template, groups=members, eigenvalues=values, trace=values.sum(1), imbalance=entries)


def selection_of(**axes: list[float]) -> Selection:
    """Scores that have their largest value in the middle of every axis."""
    candidates = [
        Candidate(
            values=dict(zip(axes, values, strict=True)),
            score=0.9 - 0.01 * sum(abs(axes[name].index(value) - 2) for name, value in zip(axes, values, strict=True)),
            worst_group_accuracy=0.8,
            average_accuracy=0.9,
            converged=True,
            step=0,
        )
        for values in itertools.product(*axes.values())
    ]
    return Selection(
        metric="worst_group", candidates=tuple(candidates), chosen=max(candidates, key=lambda one: one.score)
    )


def run_neighbours_of(members: tuple[Group, ...]) -> RunNeighbours:
    """Of a space that an attribute organises more and more."""
    epochs = np.arange(3.0)
    return RunNeighbours(
        run="r",
        split="train",
        epochs=epochs,
        checkpoints=("a", "b", "c"),
        rates=tuple(neighbour_rates_of(members, scale=0.5 + 0.1 * epoch) for epoch in epochs),
    )


def neighbour_rates_of(members: tuple[Group, ...], scale: float) -> NeighbourRates:
    def rate(group: Group) -> NeighbourRate:
        return NeighbourRate(
            group=group,
            same_class=scale,
            same_attribute={members[0].attribute_value: 1.2 * scale},
            same_group=0.5 * scale,
            expected_class=0.5,
            expected_attribute={members[0].attribute_value: 0.5},
            expected_group=0.25,
        )

    return NeighbourRates(
        digest="d",
        feature_set="f",
        among="f",
        k=20,
        attributes=(members[0].attribute_value,),
        groups=tuple(rate(group) for group in members),
        overall=rate(replace(members[0], index=-1, name="", count=9)),
        hubness=1.0,
        reused=False,
    )


def all_figures(members: tuple[Group, ...], n_masks: int = 0) -> dict[str, Figure]:
    """One of every kind."""
    history = tuple(
        EpochMetrics(epoch=epoch, split=split, metrics=metrics_of(members, scale=0.8 + 0.1 * epoch))
        for epoch in range(3)
        for split in ("val", "out of domain", "test", "train")
    )
    note = (Note("one class is predicted for every row of the test, so that all others have 0", "predicts_one_class"),)
    answer = spectra_of(members)
    over_epochs = RunSpectra(
        run="r", split="train", epochs=np.arange(3.0), checkpoints=("a", "b", "c"), spectra=(answer,) * 3
    )
    return {
        "spectra": answer.plot(),
        "run spectra": over_epochs.plot(),
        "history": replace(run(history), notes=note).plot(),
        "metrics": replace(metrics_of(members, n_masks), notes=note).plot(),
        "selection": selection_of(gamma=[4, 5, 6, 7, 8], l2=[0, 0.1, 0.2, 0.3]).plot(),
        "large selection": selection_of(l1=[0.01, 0.1, 1, 10], up=[1, 5, 20, 50], top_k=[10, 20, 50]).plot(),
        "run neighbours": run_neighbours_of(members).plot(),
        "interpolation": Interpolation(t=np.linspace(0, 1, 5), metrics=(metrics_of(members),) * 5, notes=note).plot(),
    }


def written(figure: Figure) -> Iterator[Text]:
    """All text that is drawn: titles, labels, legends, labels of ticks."""
    legends = [*figure.legends, *(part for axis in figure.axes if (part := axis.get_legend()) is not None)]
    yield from (text for legend in legends for text in legend.get_texts())
    for axis in figure.axes:
        yield from (axis.title, axis._left_title, *axis.texts)
        for one in (axis.xaxis, axis.yaxis):
            yield from (one.label, *(tick.label1 for tick in one._update_ticks()))
    if figure._suptitle is not None:
        yield figure._suptitle


def overlap(one: Bbox, other: Bbox) -> bool:
    """Whether two boxes share more than a pixel each way."""
    common = Bbox.intersection(one, other)
    return common is not None and common.width > 1 and common.height > 1


@pytest.mark.parametrize(
    "members",
    [
        pytest.param(crowd(2, 2), id="four"),
        pytest.param(crowd(3, 2), id="six"),
        pytest.param(crowd(2, 20), id="forty in two classes"),
        pytest.param(crowd(10, 4, "rather long name of "), id="forty in ten classes"),
        pytest.param(crowd(2, 2, "very " * 40), id="names of 400 characters"),
    ],
)
def test_nothing_that_is_written_overlaps(members: tuple[Group, ...]) -> None:
    for kind, figure in all_figures(members, n_masks=16).items():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        texts = [text for text in written(figure) if text.get_visible() and text.get_text().strip()]
        boxes = [(text.get_window_extent(), text.get_text()) for text in texts]
        for (one, said), (other, also) in itertools.combinations(boxes, 2):
            assert not overlap(one, other), (kind, said, also)
        for box, said in boxes:
            assert box.x0 > -2, (kind, said)
            assert box.x1 < figure.bbox.x1 + 2, (kind, said)
            assert box.y0 > -2, (kind, said)
            assert box.y1 < figure.bbox.y1 + 2, (kind, said)
        legends = [*figure.legends, *(part for axis in figure.axes if (part := axis.get_legend()) is not None)]
        for legend, axis in itertools.product(legends, figure.axes):
            assert not overlap(legend.get_window_extent(), axis.bbox), kind


def test_splits_are_drawn_in_their_usual_order() -> None:
    figure = all_figures(crowd(2, 2))["history"]
    assert [axis.get_title("left") for axis in figure.axes] == ["train", "val", "test", "out of domain"]


def test_of_many_groups_the_worst_have_a_name() -> None:
    figure = all_figures(crowd(10, 4))["history"]
    (legend,) = figure.legends
    said = [text.get_text() for text in legend.get_texts()]
    assert "class 9, value 3" in said
    assert "33 other groups" in said
    assert len(said) == 10


def test_every_group_and_mask_of_metrics_stands_at_its_accuracy() -> None:
    figure = metrics_of(crowd(2, 2), n_masks=3).plot()
    (axis,) = figure.axes
    points = [line.get_xdata()[0] for line in axis.get_lines() if line.get_marker() in ("o", "v", "s")]
    np.testing.assert_allclose(points, [0.95, 0.8, 0.65, 0.5, 60 / 90, 61 / 90, 62 / 90])
    assert [label.get_text() for label in axis.get_yticklabels()][3:5] == ["class 1, value 1", "mask 0"]
    worst = [line for line in axis.get_lines() if line.get_marker() == "v"]
    assert [float(line.get_xdata()[0]) for line in worst] == [0.5, 60 / 90]


@pytest.mark.parametrize("name", ["$x$ $", "_", "\\frac{1}{ %s \n", "\u202e\x00\ud800", "w" * 9000])
def test_any_name_can_be_drawn(name: str, tmp_path: Path) -> None:
    for kind, figure in all_figures(crowd(2, 2, name)).items():
        figure.savefig(tmp_path / "figure.png", dpi=30)
        assert (tmp_path / "figure.png").stat().st_size > 1000, kind


def test_a_notebook_gets_a_picture_and_its_size() -> None:
    figure = spectra().plot()
    png, size = figure._repr_png_()
    assert png.startswith(b"\x89PNG")
    width = int.from_bytes(png[16:20], "big")
    assert width == round(150 * figure.get_figwidth())
    assert size["width"] == round(96 * figure.get_figwidth())
    assert isinstance(pickle.loads(pickle.dumps(figure)), Figure)


def test_titles_say_which_grouping_the_groups_are_of() -> None:
    used = UsedGrouping(digest="d" * 64, attribute="kmeans", n_left_out=0)
    by = replace(spectra(), by="kmeans", grouping=used)
    epochs = RunSpectra(run="r", split="val", epochs=np.array([0.0]), checkpoints=("c",), spectra=(by,))
    scored = replace(metrics([0.5, 0.75]), grouping=used)
    for plain, figure in ((spectra(), by.plot()), (None, epochs.plot()), (None, scored.plot())):
        assert "by kmeans" in " ".join(axis.get_title(loc="left") for axis in figure.axes)
        if plain is not None:
            assert "by " not in " ".join(axis.get_title(loc="left") for axis in plain.plot().axes)
