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
worst group's accuracy on test, and after the refit; then the barrier between the first two runs by group. Five runs
of one epoch take as long as those of lp_ft.py; --small trains on 200 examples, which shows the parts and says little.
"""

import argparse

import numpy as np
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
        for name, checkpoint in networks.items():
            sets = client.extract(checkpoint, splits=["val", "test"]).wait(progress=True)
            own = client.evaluate(checkpoint, sets["test"])
            refit = client.refit(sets["val"], preset="dfr_l2", evaluate={"test": sets["test"]})
            print(line(name, own, refit.metrics["test"]))
            if name in runs:
                read = client.features.read(sets["test"])
                before.append(np.asarray(read.logits))
                after.append(read.features @ refit.head.weight.T + refit.head.bias)
        test = client.extract(last[0], splits=["test"]).wait()["test"]
        print(line("ensemble of the outputs", *(of_logits(client, test, one) for one in (before, after))))
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


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Average finetuned networks, and compare with each of them.")
    parser.add_argument("--store", default="store", help="directory of the store (default: %(default)s)")
    parser.add_argument("--dataset", default="footwear")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--random-weights", action="store_true", help="start from random weights")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--bn-count", type=int, default=2048, help="examples of running statistics")
    parser.add_argument("--line", type=float, nargs="*", default=[0.25, 0.5, 0.75], help="points of the line")
    parser.add_argument("--small", action="store_true", help="train on few examples, as many of each group")
    return parser.parse_args()


if __name__ == "__main__":
    main()
