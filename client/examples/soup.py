"""Is the mean of several finetuned networks better for the worst group than each of them?

Data: `footwear`, two classes on two grounds that go together in training (950 to 50) and not in validation and test.
A linear probe is the head that all runs start from (LP-FT), so that their heads can be averaged, too. The runs differ
in order, learning rate and balance. Beside each of them: their uniform soup with running statistics measured anew and
averaged, the greedy soup by the worst group of validation, points on the line from the probe to the uniform soup
(WiSE-FT), and the ensemble of their outputs; and for each network, what a refit of its last layer on balanced
validation examples reaches. The ensemble after a refit is that of the refitted runs.

What the answer means: the ensemble needs every network at test time, a soup is one network. Where a soup is above the
best run by more than half of the worst group's interval, averaging gained something that choosing would not have. A
refit on the same features says how much of the gain was in the features.

    python soup.py

Expected: a line for each run, for the soups, for the points of the line and for the ensemble, with the average and the
worst group's accuracy on test, and after the refit; then the barrier between the first two runs by group, and
soup.png, the worst group of every network. Five runs of one epoch take as long as those of lp_ft.py, half as long with
--image-size 160; --small trains on 200 examples, which shows the parts and says little.
"""

# matplotlib's stubs leave parts of their signatures open.
# pyright: reportUnknownMemberType=false

import argparse

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import penult

Logits = NDArray[np.floating]

RECIPES: tuple[penult.FinetuneArguments, ...] = (
    {"balance": "none", "optimizer": penult.AdamW(learning_rate=3e-4)},
    {"balance": "none", "optimizer": penult.AdamW(learning_rate=1e-4)},
    {"balance": "upsampling", "by": "class", "optimizer": penult.AdamW(learning_rate=3e-4)},
    {"balance": "mixture", "by": "group", "ratio": 4, "optimizer": penult.AdamW(learning_rate=3e-4)},
    {"balance": "mixture", "by": "group", "ratio": 2, "optimizer": penult.AdamW(learning_rate=1e-4)},
)


def main() -> None:
    options = arguments()
    with penult.local(options.store) as client:
        probed, runs = ingredients(client, options)
        networks = dict(runs)
        last = list(runs.values())
        uniform = client.merge(last, scope="full", bn_count=options.bn_count)
        averaged = client.merge(last, scope="full", bn="average")
        greedy = client.merge(last, scope="full", method="greedy", bn_count=options.bn_count)
        networks["uniform soup"] = uniform.wait(progress=True).checkpoint
        networks["uniform soup, statistics averaged"] = averaged.wait(progress=True).checkpoint
        networks["greedy soup"] = greedy.wait(progress=True).checkpoint
        for t in options.line:
            point = client.merge(
                [networks["uniform soup"]], base=probed, method="wise", t=t, scope="full", bn_count=options.bn_count
            )
            networks[f"probe to uniform soup, t = {t}"] = point.wait(progress=True).checkpoint
        header = f"{'average':>8}{'worst':>8}  {'95 %':<14}"
        print(f"{'':<36}{header}{header}   (then: after a refit)")
        before: list[Logits] = []
        after: list[Logits] = []
        drawn: dict[str, tuple[penult.Metrics, penult.Metrics]] = {}
        for name, checkpoint in networks.items():
            sets = client.extract(checkpoint, splits=["val", "test"]).wait(progress=True)
            own = client.evaluate(checkpoint, sets["test"])
            refit = client.refit(sets["val"], preset="dfr_l2", evaluate={"test": sets["test"]})
            drawn[name] = own, refit.metrics["test"]
            print(line(name, *drawn[name]))
            if name in runs:
                read = client.features.read(sets["test"])
                before.append(np.asarray(read.logits))
                after.append(read.features @ refit.head.weight.T + refit.head.bias)
        test = client.extract(last[0], splits=["test"]).wait()["test"]
        name = "ensemble of the outputs"
        drawn[name] = of_logits(client, test, before), of_logits(client, test, after)
        print(line(name, *drawn[name]))
        draw(drawn).savefig(options.plot)
        curve = client.merge_curve(*last[:2], steps=5, splits=["test"], bn_count=options.bn_count).wait()
        for barrier in curve.barrier(measure="error"):
            print(
                f"barrier, {barrier.name}: {barrier.value:.3f} [{barrier.low:.3f}, {barrier.high:.3f}] at {barrier.t}"
            )


def ingredients(
    client: penult.Client, options: argparse.Namespace
) -> tuple[penult.Checkpoint, dict[str, penult.Checkpoint]]:
    """The network with the probe's head, and the runs from it by what they are called."""
    untouched = client.finetune(
        dataset=options.dataset,
        backbone=options.backbone,
        pretrained=not options.random_weights,
        inputs=penult.Images(size=options.image_size) if options.image_size else None,
        epochs=0,
        seed=0,
    ).wait(progress=True)
    sets = client.extract(untouched.checkpoints[0], splits=["val" if options.small else "train"]).wait(progress=True)
    probe = client.refit(*sets.values(), preset="erm", l2=0.01)
    probed = client.finetune(dataset=options.dataset, start=probe, epochs=0).wait(progress=True).checkpoints[0]
    found: dict[str, penult.Checkpoint] = {}
    usual: penult.FinetuneArguments = {"dataset": options.dataset, "start": probe, "epochs": options.epochs}
    for seed, recipe in enumerate(RECIPES[: options.runs]):
        asked = usual | recipe
        asked["seed"], asked["evaluate"] = seed, ["val"]
        if options.small:
            asked["balance"], asked["by"] = "subsetting", "group"
            asked.pop("ratio", None)
        found[f"run {seed}"] = client.finetune(**asked).wait(progress=True).checkpoints[-1]
    return probed, found


def of_logits(client: penult.Client, test: penult.FeatureSet, logits: list[Logits]) -> penult.Metrics:
    """Metrics of the mean of the logits of several networks."""
    read = client.features.read(test)
    mine = client.features.upload(features=np.mean(logits, axis=0, dtype=np.float32), y=read.y, a=read.a)
    return client.evaluate(penult.Head(np.eye(2), np.zeros(2)), mine)


def line(name: str, *metrics: penult.Metrics) -> str:
    """Average and worst group with its interval, for each of the metrics."""
    cells = ""
    for one in metrics:
        low, high = one.worst_group_interval
        cells += f"{one.average_accuracy:>8.3f}{one.worst_group_accuracy:>8.3f}  [{low:.3f}, {high:.3f}]"
    return f"{name:<36}{cells}"


def draw(found: dict[str, tuple[penult.Metrics, penult.Metrics]]) -> Figure:
    """The worst group of every network with its interval, before and after a refit of its last layer."""
    figure = Figure(figsize=(6.5, 0.28 * len(found) + 1.2), layout="constrained", dpi=150)
    axis = figure.subplots()
    for which, (label, colour) in enumerate((("as it is", "#D55E00"), ("last layer refitted", "#0072B2"))):
        for place, metrics in enumerate(found.values()):
            one, y = metrics[which], place + 0.24 * which - 0.12
            axis.plot(one.worst_group_interval, (y, y), color=colour, linewidth=1.5, alpha=0.5)
            axis.plot(one.worst_group_accuracy, y, "o", color=colour, markersize=4, label=None if place else label)
    axis.set_yticks(range(len(found)), list(found), fontsize="small")
    axis.invert_yaxis()
    axis.set(xlabel="accuracy of the worst group on test, with its 95 % interval", xlim=(0, 1))
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize="small", loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return figure


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Average finetuned networks, and compare with each of them.")
    parser.add_argument("--store", default="store", help="directory of the store (default: %(default)s)")
    parser.add_argument("--dataset", default="footwear")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--plot", default="soup.png", help="figure to write (default: %(default)s)")
    parser.add_argument("--image-size", type=int, default=0, help="pixels of a side; the backbone's own by default")
    parser.add_argument("--random-weights", action="store_true", help="start from random weights")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--bn-count", type=int, default=2048, help="examples of running statistics")
    parser.add_argument("--line", type=float, nargs="*", default=[0.25, 0.5, 0.75], help="points of the line")
    parser.add_argument("--small", action="store_true", help="train on few examples, as many of each group")
    return parser.parse_args()


if __name__ == "__main__":
    main()
