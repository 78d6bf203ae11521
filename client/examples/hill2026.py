"""Why does last-layer retraining help: does the network collapse, or do its rows decide the head?

The figures and the table of Hill et al. 2026 (arXiv 2512.01766) from runs of any dataset.

Data: `footwear`, two classes on two grounds that go together in training (950 to 50). LLR fits the last layer on the
validation split, whose groups are equal as they are: its rows are weighed so that what are minorities in training are
at a ratio. DFR fits it on equal groups.

What the answer means: lines are means over seeds, bands one standard deviation of the seeds. (1) worst group by the
minorities' ratio, 1 being equal groups: flat lines say that LLR needs no balance. (2) traces of the features'
covariance over epochs, within and between classes and groups: collapse is a fall of "within" relative to "between",
of classes but not of groups where minorities stay apart. (3) margins over the norm of the head, by group. (4)
distance in direction from the head of the largest margin on the training features: normalised descent and a vanishing
penalty tend to it, and the finetuned head may be far. Where no head without a bias separates the rows there is no
such head, and the script says so. (5) how far groups of a class stand apart before finetuning, beside what balancing
the groups gains, a point for each class and seed.

    python hill2026.py
    python hill2026.py --ratios 0.05 0.1 0.2 0.5 1 --seeds 5 --epochs 10

Expected: five figures, hill2026-1-ratios.png to hill2026-5-separation.png, and a table for a paper.
"""

# matplotlib's stubs leave parts of their signatures open.
# pyright: reportUnknownMemberType=false

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import penult

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666", "#000000")
TRACES = {
    "trace_total": "all rows",
    "trace_within_class": "within classes",
    "trace_between_class": "between classes",
    "trace_within_part": "within groups",
    "trace_between_part": "between groups",
}
ENDS = ("min", "mean", "max")
STEPS = (10, 30, 100, 300, 1000)
STRENGTHS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


@dataclass(frozen=True)
class Epoch:
    """Diagnostics of the training features after an epoch."""

    traces: list[float]
    margins: list[list[float]]
    """By group: least, mean, largest, over the norm of the head."""
    error: float
    """Distance in direction of the finetuned head from the one of largest margin; NaN where there is none."""


def main() -> None:
    options = arguments()
    with penult.local(options.store) as client:
        erm = finetuned(client, options)
        plain = erm["none"]
        val = [client.extract(run.checkpoints[-1]).wait() for run in plain]
        llr = [
            retrained(client, sets, run.metrics("train"), options.ratios) for run, sets in zip(plain, val, strict=True)
        ]
        dfr = [client.refit(sets["val"], preset=options.dfr, evaluate={"test": sets["test"]}) for sets in val]
        epochs = [checkpoint.epoch for checkpoint in plain[0].checkpoints]
        diagnosed = [[diagnose(client, checkpoint) for checkpoint in run.checkpoints] for run in plain]
        paths = [towards_the_margin(client, sets["train"]) for sets in val]
        groups = [group.name for group in plain[0].metrics("test").groups]
        apart = [separation(client, run, balanced) for run, balanced in zip(plain, erm[1.0], strict=True)]
    swept = {"finetuning (ERM)": np.array([[worst(run) for run in erm[r]] for r in options.ratios]).T}
    swept["last layer (LLR)"] = np.array([[one.metrics["test"].worst_group_accuracy for one in of] for of in llr])
    save(options, "1-ratios", draw_ratios(options.ratios, swept))
    save(options, "2-collapse", draw_collapse(epochs, np.array([[one.traces for one in of] for of in diagnosed])))
    margins = np.array([[one.margins for one in of] for of in diagnosed])
    save(options, "3-margins", draw_margins(epochs, groups, margins))
    errors = np.array([[one.error for one in of] for of in diagnosed])
    found = [path for path in paths if path is not None]
    if found:
        by_kind = {name: np.array([path[name] for path in found]) for name in found[0]}
        save(options, "4-margin-head", draw_directions(epochs, errors, by_kind))
    else:
        print("no head without a bias separates the training features: figure 4 is left out")
    save(options, "5-separation", draw_separation(apart))
    heads = {"ERM": [run.metrics("test") for run in plain]}
    heads |= {f"LLR at {r:g}": [of[k].metrics["test"] for of in llr] for k, r in enumerate(options.ratios)}
    print(table(heads | {"DFR": [one.metrics["test"] for one in dfr]}))


def worst(run: penult.Run) -> float:
    return run.metrics("test").worst_group_accuracy


def finetuned(client: penult.Client, options: argparse.Namespace) -> dict[Any, list[penult.Run]]:
    """Runs of every seed: not balanced, and with minorities at each ratio, which always ends with 1."""
    keys: list[Any] = ["none", *dict.fromkeys([*options.ratios, 1.0])]
    requests: list[Any] = [
        {"balance": "none"} if key == "none" else {"balance": "upsampling", "by": "group", "group_ratio": key}
        for key in keys
    ]
    done = client.finetunes(
        requests,
        seeds=range(options.seeds),
        dataset=options.dataset,
        backbone=options.backbone,
        pretrained=not options.random_weights,
        epochs=options.epochs,
        inputs=penult.Images(size=options.image_size) if options.image_size else None,
    ).wait(progress=True)
    n = options.seeds
    return {key: list(done[place * n : (place + 1) * n]) for place, key in enumerate(keys)}


def retrained(
    client: penult.Client, sets: Mapping[str, penult.FeatureSet], train: penult.Metrics, ratios: Sequence[float]
) -> list[penult.Refit]:
    """The last layer on validation features with the minorities of training at each ratio: one request."""
    rows = client.features.read(sets["val"])
    counts = np.array([group.count for group in train.groups])
    classes = np.array([group.y for group in train.groups])
    g = rows.y * (counts.size // np.unique(classes).size) + rows.a
    asked: list[Any] = [
        {
            "features": sets["val"],
            "weights": (shares(counts, classes, ratio) / np.maximum(np.bincount(g, minlength=counts.size), 1))[g],
            "l2": 1e-3,
            "evaluate": {"test": sets["test"]},
        }
        for ratio in ratios
    ]
    found: list[penult.Refit] = []
    for one in client.refits(asked):
        if isinstance(one, penult.PenultError):
            raise one
        found.append(one)
    return found


def shares(counts: np.ndarray, classes: np.ndarray, ratio: float) -> np.ndarray:
    """(groups,) share of each: classes equal, the minority of a class at `ratio` to its other groups.

    A minority is the smallest group of a class, of at most half of every other, as `group_ratio` has it.
    """
    found = np.ones(counts.size)
    for one in np.unique(classes):
        smallest, *others = sorted(np.flatnonzero(classes == one), key=lambda group: counts[group])
        if others and counts[smallest] <= counts[others[0]] / 2:
            found[smallest] = ratio
        found[classes == one] /= found[classes == one].sum()
    return found / found.sum()


def diagnose(client: penult.Client, checkpoint: penult.Checkpoint) -> Epoch:
    """Collapse, margins and direction on the training split."""
    train = client.extract(checkpoint, splits=["train"]).wait()["train"]
    found = client.diagnose(train, ["nc", "margins", "max_margin"], by="group", matched=False, replicates=0)
    names = [group.name for group in found.groups]
    return Epoch(
        traces=[found.value(id, "all").value for id in TRACES],
        margins=[[found.value(f"margin_normalised_{end}", name).value for end in ENDS] for name in names],
        error=found.value("max_margin_error", "all").value,
    )


def towards_the_margin(client: penult.Client, train: penult.FeatureSet) -> dict[str, list[float]] | None:
    """Distances in direction from the head of largest margin, by steps and by l2; None where there is no such head."""
    same: Any = {"features": train, "standardize": False, "intercept": "none"}
    try:
        best = client.refit(**same, link="hinge").head.weight
    except penult.InvalidRequest:
        return None
    # After the last of the steps the least margin is about 80: more than float32 tells from none.
    rate = 80 / STEPS[-1] * float(np.linalg.norm(best - best.mean(axis=0)))
    path = {"optimizer": "gd", "learning_rate": rate, "normalize": True}
    asked: dict[str, list[Any]] = {
        "steps": [{**same, "path": {**path, "steps": steps}} for steps in STEPS],
        "l2": [{**same, "l2": l2} for l2 in STRENGTHS],
    }
    found: dict[str, list[float]] = {}
    for name, requests in asked.items():
        heads = [one.head.weight for one in client.refits(requests) if isinstance(one, penult.Refit)]
        found[name] = [distance(one, best) for one in heads]
    return found


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Distance of two heads (classes, features) of norm 1, rows less their mean."""
    u, v = (one - one.mean(axis=0) for one in (first, second))
    return float(np.linalg.norm(u / np.linalg.norm(u) - v / np.linalg.norm(v)))


def separation(client: penult.Client, plain: penult.Run, balanced: penult.Run) -> list[tuple[str, float, float]]:
    """By class: its name, how far its groups stand apart before finetuning, and what balancing gains the worst one."""
    before = client.extract(plain.checkpoints[0], splits=["train"]).wait()["train"]
    found = client.diagnose(before, "separation", by="group", matched=False, replicates=0)
    apart = found.matrix("latent_separation")
    old, new = plain.metrics("test"), balanced.metrics("test")
    points: list[tuple[str, float, float]] = []
    for name in dict.fromkeys(group.class_name for group in found.groups):
        own = [group.index for group in found.groups if group.class_name == name]
        gain = np.nanmin(new.group_accuracy[own]) - np.nanmin(old.group_accuracy[own])
        points.append((name, float(np.nanmean(apart[np.ix_(own, own)])), float(gain)))
    return points


def draw_ratios(ratios: Sequence[float], swept: Mapping[str, np.ndarray]) -> Figure:
    """Worst-group accuracy by the ratio of minorities, of (seeds, ratios)."""
    figure = Figure(figsize=(5, 3.5), layout="constrained", dpi=150)
    axis = figure.subplots()
    for (name, values), colour in zip(swept.items(), COLOURS, strict=False):
        band(axis, ratios, values, colour, name)
    finish(axis, "minority : other groups of its class", "worst-group accuracy (test)")
    axis.set_ylim(0, 1.02)
    axis.legend(frameon=False, fontsize="small", loc="lower right")
    return figure


def draw_collapse(epochs: Sequence[float], traces: np.ndarray) -> Figure:
    """Traces (seeds, epochs, kinds), and what is within over what is between; means and bands of their logarithms."""
    figure = Figure(figsize=(9, 3.5), layout="constrained", dpi=150)
    left, right = figure.subplots(1, 2)
    for place, (name, colour) in enumerate(zip(TRACES.values(), COLOURS, strict=False)):
        band(left, epochs, traces[:, :, place], colour, name, is_log=True)
    left.set_yscale("log")
    finish(left, "epoch", "trace of the covariance (train)")
    left.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    names = list(TRACES)
    for what, ids, colour in (
        ("classes", ("trace_within_class", "trace_between_class"), COLOURS[1]),
        ("groups", ("trace_within_part", "trace_between_part"), COLOURS[3]),
    ):
        within, between = (traces[:, :, names.index(id)] for id in ids)
        band(right, epochs, within / between, colour, what, is_log=True)
    right.set_yscale("log")
    finish(right, "epoch", "within / between")
    right.legend(frameon=False, fontsize="small")
    for axis in (left, right):
        axis.locator_params(axis="x", integer=True)
    return figure


def draw_margins(epochs: Sequence[float], groups: Sequence[str], margins: np.ndarray) -> Figure:
    """Least, mean and largest normalised margin (seeds, epochs, groups, 3) over epochs, by group."""
    figure = Figure(figsize=(10, 3.3), layout="constrained", dpi=150)
    axes = figure.subplots(1, 3)
    for end, (axis, name) in enumerate(zip(axes, ("least", "mean", "largest"), strict=True)):
        for place, (group, colour) in enumerate(zip(groups, COLOURS, strict=False)):
            band(axis, epochs, margins[:, :, place, end], colour, group)
        axis.axhline(0.0, color="#999999", linewidth=1, linestyle="--")
        finish(axis, "epoch", f"{name} margin / |W| (train)")
        axis.locator_params(axis="x", integer=True)
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, fontsize="small", loc="outside right center")
    return figure


def draw_directions(epochs: Sequence[float], errors: np.ndarray, found: Mapping[str, np.ndarray]) -> Figure:
    """Distance in direction from the head of largest margin: of the finetuned head, by steps, and by penalty."""
    figure = Figure(figsize=(10, 3.2), layout="constrained", dpi=150)
    left, middle, right = figure.subplots(1, 3, sharey=True)
    band(left, epochs, errors, COLOURS[7], "finetuned head")
    band(middle, STEPS, found["steps"], COLOURS[0], "normalised descent")
    band(right, STRENGTHS, found["l2"], COLOURS[1], "softmax with an l2")
    finish(left, "epoch", "|W/|W| - W*/|W*||")
    finish(middle, "normalised steps from zero", "")
    finish(right, "l2 of a softmax", "")
    left.set_title("finetuned head on its own features", fontsize="small")
    middle.set_title("on the last epoch's features", fontsize="small")
    right.set_title("on the last epoch's features", fontsize="small")
    middle.set_xscale("log")
    right.set_xscale("log")
    right.invert_xaxis()
    left.set_ylim(bottom=0)
    return figure


def draw_separation(apart: Sequence[Sequence[tuple[str, float, float]]]) -> Figure:
    """What balancing gains over how far groups stood apart, by class; of (name, separation, gain) of each seed."""
    figure = Figure(figsize=(4.4, 3.5), layout="constrained", dpi=150)
    axis = figure.subplots()
    for place, colour in zip(range(len(apart[0])), COLOURS, strict=False):
        points = [of_seed[place] for of_seed in apart]
        axis.plot([one[1] for one in points], [one[2] for one in points], "o", color=colour, label=points[0][0])
    axis.axhline(0.0, color="#999999", linewidth=1, linestyle="--")
    finish(axis, "separation of groups before finetuning", "gain of the class's worst group\nby balanced groups")
    axis.legend(frameon=False, fontsize="small")
    return figure


def band(axis: Axes, x: Any, values: np.ndarray, colour: str, name: str, *, is_log: bool = False) -> None:
    """The mean of the seeds (seeds, points) with a band of one standard deviation; points without values left out."""
    known = (np.isfinite(values) & ((values > 0) | (not is_log))).all(axis=0)
    if not known.any():
        return
    x, values = np.asarray(x)[known], np.log(values[:, known]) if is_log else values[:, known]
    mean = values.mean(axis=0)
    deviation = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros_like(mean)
    low, middle, high = (np.exp(one) if is_log else one for one in (mean - deviation, mean, mean + deviation))
    axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    axis.plot(x, middle, "o-", markersize=4, color=colour, label=name)


def finish(axis: Axes, x: str, y: str) -> None:
    axis.set(xlabel=x, ylabel=y)
    axis.spines[["top", "right"]].set_visible(False)


def table(found: Mapping[str, Sequence[penult.Metrics]]) -> str:
    """Rows for a paper: mean and standard deviation of the seeds, in per cent."""
    lines = [r"\begin{tabular}{lrr}", r"head & average & worst group \\", r"\hline"]
    for name, of_seeds in found.items():
        values = np.array([[one.average_accuracy, one.worst_group_accuracy] for one in of_seeds])
        deviation = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(2)
        pairs = zip(values.mean(axis=0), deviation, strict=True)
        cells = [f"${100 * mean:.1f} \\pm {100 * d:.1f}$" for mean, d in pairs]
        lines.append(f"{name} & {' & '.join(cells)} \\\\")
    return "\n".join([*lines, r"\end{tabular}"])


def save(options: argparse.Namespace, name: str, figure: Figure) -> None:
    figure.savefig(f"{options.plots}-{name}.png")
    print(f"drawn in {options.plots}-{name}.png")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The figures of Hill et al. 2026.")
    parser.add_argument("--store", default="store", help="directory of the store (default: %(default)s)")
    parser.add_argument("--plots", default="hill2026", help="how the figures' files begin (default: %(default)s)")
    parser.add_argument("--dataset", default="footwear")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--random-weights", action="store_true", help="start from random weights")
    parser.add_argument("--ratios", nargs="+", type=float, default=[0.05, 0.2, 0.5, 1.0], help="of the minorities")
    parser.add_argument("--dfr", default="dfr_l2", help="preset of deep feature reweighting (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each setting (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--image-size", type=int, default=48, help="pixels; 0 for texts (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
