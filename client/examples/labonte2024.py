"""Which class balancing helps the worst group, for how long, and do minorities have wider spectra?

The figures and the table of LaBonte et al. 2024 (arXiv 2407.13957) from runs of any dataset: each balancing is
finetuned once per seed, the runs of one seed from the same weights.

Data: `footwear`, two classes on two grounds that go together in training (950 to 50). Its classes are balanced as they
are: `--by group` balances the groups, of which the paper's class balancing is the attribute-free part.

What the answer means: lines and bars are means over seeds, bands and whiskers one standard deviation of the seeds, not
of the examples. (1) worst-group accuracy over epochs: a balancing that rises first and falls later has memorised its
few rows. (2) the mixture between subsetting (ratio 1) and upsampling (the full imbalance). (3) worst group by backbone,
where several are given. (4) the largest eigenvalues of each group's covariance after the last epoch, groups named. (5)
the ratio of minority and majority, as the paper has it (open) and at equal numbers of examples (filled): of small
minorities the first is above 1 whatever their distribution. The table's first average weighs the groups' accuracies by
their shares after balancing, as the authors' code does; the second is over all examples.

    python labonte2024.py
    python labonte2024.py --by group --ratios 1 4 19 --seeds 5
    python labonte2024.py --dataset my-waterbirds --backbone convnextv2_nano --epochs 20

Expected: five figures, labonte2024-1-epochs.png to labonte2024-5-imbalance.png, and a table for a paper.
"""

# matplotlib's stubs leave parts of their signatures open.
# pyright: reportUnknownMemberType=false

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import penult

COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666")


def main() -> None:
    options = arguments()
    with penult.local(options.store) as client:
        runs = finetuned(client, options)
        first = {name: of_seeds for (backbone, name), of_seeds in runs.items() if backbone == options.backbone[0]}
        epochs = sorted({entry.epoch for entry in next(iter(first.values()))[0].history if entry.split == "test"})
        worst = {name: over_epochs(of_seeds, epochs) for name, of_seeds in first.items()}
        spectra = {name: [last_spectra(client, run) for run in first[name]] for name in first}
    save(options, "1-epochs", draw_epochs(epochs, worst))
    save(options, "2-mixture", draw_bars({name: values[:, -1] for name, values in worst.items()}))
    by_backbone = {
        name: [[run.metrics("test").worst_group_accuracy for run in runs[one, name]] for one in options.backbone]
        for name in first
    }
    save(options, "3-backbones", draw_backbones(options.backbone, by_backbone))
    plain = spectra["none"]
    names = [group.name for group in plain[0].groups]
    save(options, "4-spectra", draw_spectra(names, np.stack([one.eigenvalues for one in plain])))
    save(options, "5-imbalance", draw_imbalance({name: ratios(of_seeds) for name, of_seeds in spectra.items()}))
    print(table({name: accuracies(of_seeds) for name, of_seeds in first.items()}))


def finetuned(client: penult.Client, options: argparse.Namespace) -> dict[tuple[str, str], list[penult.Run]]:
    """Runs by backbone and balancing, one of each seed."""
    balancings: dict[str, dict[str, Any]] = {
        "none": {"balance": "none"},
        "subsetting": {"balance": "subsetting", "by": options.by},
        "upsampling": {"balance": "upsampling", "by": options.by},
        "upweighting": {"balance": "upweighting", "by": options.by},
    }
    for ratio in options.ratios:
        balancings[f"mixture {ratio:g}"] = {"balance": "mixture", "by": options.by, "ratio": ratio}
    keys = [(backbone, name) for backbone in options.backbone for name in balancings]
    requests: list[Any] = [{"backbone": backbone, **balancings[name]} for backbone, name in keys]
    done = client.finetunes(
        requests,
        seeds=range(options.seeds),
        dataset=options.dataset,
        pretrained=not options.random_weights,
        epochs=options.epochs,
        inputs=penult.Images(size=options.image_size) if options.image_size else None,
    ).wait(progress=True)
    n = options.seeds
    return {key: list(done[place * n : (place + 1) * n]) for place, key in enumerate(keys)}


def over_epochs(runs: Sequence[penult.Run], epochs: Sequence[float]) -> np.ndarray:
    """(seeds, epochs) worst-group accuracy on the test split."""
    return np.array([[run.metrics("test", epoch).worst_group_accuracy for epoch in epochs] for run in runs])


def last_spectra(client: penult.Client, run: penult.Run) -> penult.Spectra:
    """Spectra of the training features after the last epoch."""
    return client.spectra(client.extract(run.checkpoints[-1], splits=["train"]).wait()["train"], top_k=50)


def ratios(spectra: Sequence[penult.Spectra]) -> tuple[list[str], np.ndarray]:
    """What is compared, and (2, seeds, comparisons) the ratios as measured and at equal n."""
    names = [entry.label for entry in spectra[0].imbalance]
    measured = [[entry.ratio for entry in one.imbalance] for one in spectra]
    matched = [[entry.matched_ratio for entry in one.imbalance] for one in spectra]
    return names, np.array([measured, matched])


def accuracies(runs: Sequence[penult.Run]) -> np.ndarray:
    """(seeds, 3) average by shares after balancing, average over examples, worst group; of the test split."""
    found: list[list[float]] = []
    for run in runs:
        metrics, train = run.metrics("test"), run.metrics("train")
        counts = np.array([group.count for group in train.groups], dtype=float)
        classes = np.array([group.y for group in train.groups])
        shares = balanced_shares(counts, classes, run.spec.balance, run.spec.by, run.spec.ratio)
        by_share = float(np.nansum(shares * metrics.group_accuracy))
        found.append([by_share, metrics.average_accuracy, metrics.worst_group_accuracy])
    return np.array(found)


def balanced_shares(
    counts: np.ndarray, classes: np.ndarray, balance: str, by: str | None, ratio: float | str | None = None
) -> np.ndarray:
    """(groups,) expected share of each group among the examples that a balancing trains on, from the split's counts.

    Balancing classes leaves the shares of the groups within a class; a mixture, too, ends with equal labels.
    """
    if balance == "none":
        return counts / counts.sum()
    if by == "class":
        totals = np.array([counts[classes == one].sum() for one in classes])
        return counts / totals / np.unique(classes).size
    return (counts > 0) / np.count_nonzero(counts)


def draw_epochs(epochs: Sequence[float], worst: Mapping[str, np.ndarray]) -> Figure:
    """Worst-group accuracy over epochs, a line for each balancing."""
    figure = Figure(figsize=(5.2, 3.6), layout="constrained", dpi=150)
    axis = figure.subplots()
    for (name, values), colour in zip(worst.items(), COLOURS, strict=False):
        band(axis, epochs, values, colour, name)
    finish(axis, "epoch", "worst-group accuracy (test)")
    axis.set_ylim(-0.02, 1.02)
    axis.locator_params(axis="x", integer=True)
    axis.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def draw_bars(worst: Mapping[str, np.ndarray]) -> Figure:
    """Worst-group accuracy after the last epoch: subsetting, mixtures by ratio, upsampling, and the others."""
    order = ["none", "subsetting", *(name for name in worst if name.startswith("mixture")), "upsampling", "upweighting"]
    figure = Figure(figsize=(0.9 * len(order) + 1.2, 3.4), layout="constrained", dpi=150)
    axis = figure.subplots()
    means, deviations = zip(*(mean_and_sd(worst[name]) for name in order), strict=True)
    axis.bar(range(len(order)), means, yerr=deviations, color="#0072B2", ecolor="#333333", capsize=3, width=0.7)
    for place, name in enumerate(order):
        seeds = worst[name]
        axis.plot([place] * len(seeds), seeds, "o", color="white", mec="black", markersize=4, clip_on=False)
    axis.set_xticks(range(len(order)), order, rotation=25, ha="right")
    finish(axis, "", "worst-group accuracy (test)")
    axis.set_ylim(-0.02, 1.02)
    return figure


def draw_backbones(backbones: Sequence[str], worst: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """Worst-group accuracy of each balancing over backbones, in the order that they were given in."""
    figure = Figure(figsize=(1.1 * len(backbones) + 4.2, 3.4), layout="constrained", dpi=150)
    axis = figure.subplots()
    for place, ((name, of_backbones), colour) in enumerate(zip(worst.items(), COLOURS, strict=False)):
        means, deviations = zip(*(mean_and_sd(np.array(values)) for values in of_backbones), strict=True)
        at = np.arange(len(backbones)) + 0.08 * (place - (len(worst) - 1) / 2)
        axis.errorbar(at, means, yerr=deviations, fmt="o-", color=colour, capsize=3, label=name)
    axis.set_xticks(range(len(backbones)), backbones, rotation=15 if len(backbones) > 3 else 0)
    axis.set_xlim(-0.5, len(backbones) - 0.5)
    axis.set_ylim(-0.02, 1.02)
    finish(axis, "", "worst-group accuracy (test)")
    axis.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def draw_spectra(groups: Sequence[str], eigenvalues: np.ndarray) -> Figure:
    """Eigenvalues (seeds, groups, ranks) of the covariance of each group; means and bands of their logarithms."""
    figure = Figure(figsize=(5.2, 3.6), layout="constrained", dpi=150)
    axis = figure.subplots()
    for place, (name, colour) in enumerate(zip(groups, COLOURS[1:], strict=False)):
        own = eigenvalues[:, place]
        # A group of n examples has n - 1 eigenvalues above rounding.
        known = (own > 1e-10 * own.max()).all(axis=0)
        ranks, logs = np.flatnonzero(known) + 1, np.log(own[:, known])
        mean, deviation = logs.mean(axis=0), sd(logs)
        axis.fill_between(ranks, np.exp(mean - deviation), np.exp(mean + deviation), color=colour, alpha=0.15, lw=0)
        axis.plot(ranks, np.exp(mean), color=colour, label=name)
    axis.set_yscale("log")
    finish(axis, "rank", "eigenvalue of the group's covariance")
    axis.legend(frameon=False, fontsize="small")
    return figure


def draw_imbalance(found: Mapping[str, tuple[Sequence[str], np.ndarray]]) -> Figure:
    """Ratio of the largest eigenvalues of minority and majority by balancing: open as measured, filled at equal n."""
    compared = next(iter(found.values()))[0]
    figure = Figure(figsize=(1.1 * len(found) + 2.5, 3.6), layout="constrained", dpi=150)
    axis = figure.subplots()
    for place, (name, colour) in enumerate(zip(compared, COLOURS[1:], strict=False)):
        at = np.arange(len(found)) + 0.16 * (place - (len(compared) - 1) / 2)
        for kind, (shift, face) in enumerate(((-0.04, "white"), (0.04, colour))):
            pairs = [mean_and_sd(values[kind, :, place]) for _, values in found.values()]
            means, deviations = zip(*pairs, strict=True)
            label = f"{name}, {('as measured', 'at equal n')[kind]}"
            axis.errorbar(at + shift, means, yerr=deviations, fmt="o", color=colour, mfc=face, capsize=3, label=label)
    axis.axhline(1.0, color="#999999", linewidth=1, linestyle="--")
    axis.set_xticks(range(len(found)), list(found), rotation=25, ha="right")
    finish(axis, "", "largest eigenvalue,\nminority / majority")
    axis.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(compared))
    return figure


def band(axis: Axes, x: Any, values: np.ndarray, colour: str, name: str) -> None:
    """The mean accuracy of the seeds (seeds, points) with a band of one standard deviation."""
    mean, deviation = values.mean(axis=0), sd(values)
    low, high = np.clip([mean - deviation, mean + deviation], 0.0, 1.0)
    axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    axis.plot(x, mean, "o-", markersize=4, color=colour, label=name)


def finish(axis: Axes, x: str, y: str) -> None:
    axis.set(xlabel=x, ylabel=y)
    axis.spines[["top", "right"]].set_visible(False)


def sd(values: np.ndarray) -> Any:
    """Standard deviation over the seeds, the first axis; 0 of one seed."""
    return values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros_like(values.mean(axis=0))


def mean_and_sd(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(sd(values))


def table(found: Mapping[str, np.ndarray]) -> str:
    """Rows for a paper: mean and standard deviation of the seeds, in per cent."""
    lines = [r"\begin{tabular}{lrrr}", r"balancing & average (balanced shares) & average & worst group \\", r"\hline"]
    for name, values in found.items():
        cells = [f"${100 * mean:.1f} \\pm {100 * d:.1f}$" for mean, d in (mean_and_sd(one) for one in values.T)]
        lines.append(f"{name} & {' & '.join(cells)} \\\\")
    return "\n".join([*lines, r"\end{tabular}"])


def save(options: argparse.Namespace, name: str, figure: Figure) -> None:
    figure.savefig(f"{options.plots}-{name}.png")
    print(f"drawn in {options.plots}-{name}.png")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The figures of LaBonte et al. 2024.")
    parser.add_argument("--store", default="store", help="directory of the store (default: %(default)s)")
    parser.add_argument("--plots", default="labonte2024", help="how the figures' files begin (default: %(default)s)")
    parser.add_argument("--dataset", default="footwear")
    parser.add_argument("--backbone", nargs="+", default=["tf_efficientnet_lite0"], help="one, or several to compare")
    parser.add_argument("--random-weights", action="store_true", help="start from random weights")
    parser.add_argument("--by", choices=("class", "group"), default="group")
    parser.add_argument("--ratios", nargs="+", type=float, default=[2, 4], help="of the mixtures")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each balancing (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--image-size", type=int, default=48, help="pixels; 0 for texts (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
