"""Does finetuning spoil the features, or only the head?

Data: `footwear`, two classes on two grounds that go together in training (950 to 50) and not in validation and test.
After every epoch, epoch 0 included, the last layer is refitted on group-balanced validation features (deep feature
reweighting, DFR) and scored on the test split, beside the head that was finetuned.

What the answer means: a finetuned head that falls while the refit stays high predicts the ground although the
features still tell the classes apart, and a refit repairs it. A refit that falls, too, says that the features have
lost something. Epoch 0 is the pretrained backbone with a fresh head, so the refit there is a linear probe. Bands are
95 % Wilson intervals of the worst group's 250 examples; what another seed would change comes on top.

    python refit_every_epoch.py

Expected, after five minutes of processor time (two CPU cores, 2026-11): the head is where the damage is.

    epoch  finetuned head   refit   worst-group accuracy on the test split
        0           0.016   0.844
        1           0.816   0.880
        2           0.584   0.816
        3           0.716   0.836
        4           0.616   0.832
"""

# matplotlib's stubs leave parts of their signatures open.
# pyright: reportUnknownMemberType=false

import argparse

from matplotlib.figure import Figure

import penult


def main() -> None:
    options = arguments()
    with penult.local(options.store) as client:
        run = client.finetune(
            dataset=options.dataset,
            backbone=options.backbone,
            pretrained=not options.random_weights,
            balance="none",
            epochs=options.epochs,
            seed=0,
        ).wait(progress=True)
        own: list[penult.Metrics] = []
        refitted: list[penult.Metrics] = []
        for checkpoint in run.checkpoints:
            sets = client.extract(checkpoint, splits=["val", "test"]).wait()
            own.append(client.evaluate(checkpoint, sets["test"]))
            refit = client.refit(sets["val"], preset=options.preset, evaluate={"test": sets["test"]})
            refitted.append(refit.metrics["test"])
    epochs = [checkpoint.epoch for checkpoint in run.checkpoints]

    print(f"{'epoch':>5}{'finetuned head':>16}{'refit':>8}   worst-group accuracy on the test split")
    for epoch, before, after in zip(epochs, own, refitted, strict=True):
        print(f"{epoch:>5g}{before.worst_group_accuracy:>16.3f}{after.worst_group_accuracy:>8.3f}")
    draw(epochs, {"finetuned head": own, f"refit ({options.preset})": refitted}).savefig(options.plot)
    print(f"drawn in {options.plot}")


def draw(epochs: list[float], curves: dict[str, list[penult.Metrics]]) -> Figure:
    """Worst-group accuracy over epochs with its interval, one curve per head; the average dotted."""
    figure = Figure(figsize=(5, 3.6), layout="constrained", dpi=150)
    axis = figure.subplots()
    for (name, metrics), colour in zip(curves.items(), ("#D55E00", "#0072B2"), strict=True):
        low, high = zip(*(one.worst_group_interval for one in metrics), strict=True)
        axis.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.plot(
            epochs, [one.worst_group_accuracy for one in metrics], "o-", color=colour, label=f"{name}, worst group"
        )
        axis.plot(epochs, [one.average_accuracy for one in metrics], ":", color=colour, label=f"{name}, average")
    axis.set(xlabel="epoch", ylabel="test accuracy", ylim=(0, 1.02))
    axis.locator_params(axis="x", integer=True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize="small", loc="lower right")
    return figure


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Refit the last layer at every epoch of a run.")
    parser.add_argument("--store", default="store", help="directory of the store (default: %(default)s)")
    parser.add_argument("--plot", default="refit_every_epoch.png", help="figure to write (default: %(default)s)")
    parser.add_argument("--preset", default="dfr", help="how the last layer is refitted (default: %(default)s)")
    parser.add_argument("--dataset", default="footwear")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--random-weights", action="store_true", help="start from random weights")
    parser.add_argument("--epochs", type=int, default=4)
    return parser.parse_args()


if __name__ == "__main__":
    main()
