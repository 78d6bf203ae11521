"""Does finetuning from a fitted head keep what linear probing reaches?

Data: `footwear`, two classes on two grounds that go together in training (950 to 50) and not in validation and test.
The last layer is first fitted on the features of the untouched backbone (a linear probe), then all weights are
finetuned from that body and that head, with several seeds (LP-FT, Kumar et al. 2022, arXiv 2202.10054). Beside it:
finetuning from one fresh head, the same for all seeds, so that seeds differ in order and augmentation alone.

What the answer means: a fresh head sends large gradients into the body before it knows the classes, which may distort
the features; a fitted one does not. If LP-FT keeps a higher worst group than plain finetuning by more than the
standard deviation over seeds, that distortion cost something here. The linear probe itself has no seed.

    python lp_ft.py

Expected: a line for the probe alone and one for each start, with the mean and the standard deviation over seeds of
the average and of the worst group's accuracy. Six runs of one epoch take twenty minutes of processor time.
"""

import argparse
from statistics import mean, stdev

import penult


def main() -> None:
    options = arguments()
    with penult.local(options.store) as client:
        untouched = client.finetune(
            dataset=options.dataset,
            backbone=options.backbone,
            pretrained=not options.random_weights,
            epochs=0,
            seed=0,
        ).wait(progress=True)
        fresh = untouched.checkpoints[0]
        sets = client.extract(fresh, splits=["train", "test"]).wait(progress=True)
        probe = client.refit(sets["train"], preset="erm", l2=options.l2, evaluate={"test": sets["test"]})

        starts: dict[str, penult.Checkpoint | penult.Refit] = {"fresh head": fresh, "linear probe": probe}
        jobs = {
            name: client.finetunes(
                seeds=range(options.seeds),
                dataset=options.dataset,
                start=start,
                epochs=options.epochs,
                optimizer=penult.AdamW(learning_rate=options.learning_rate),
                evaluate=["test"],
            )
            for name, start in starts.items()
        }
        runs = {name: group.wait(progress=True) for name, group in jobs.items()}
        # Every seed of a start begins with the same weights, bit for bit.
        for name in starts:
            assert len({run.checkpoints[0].digest for run in runs[name]}) == 1

    print(f"{'':<28}{'average':>8}{'sd':>7}{'worst':>8}{'sd':>7}   group accuracy on the test split")
    print(line("linear probe alone", [probe.metrics["test"]]))
    for name, of_start in runs.items():
        print(line(f"finetuned from {name}", [run.metrics("test") for run in of_start]))


def line(name: str, metrics: list[penult.Metrics]) -> str:
    """Average and worst-group accuracy: the mean over seeds, and the standard deviation where there are several."""
    cells = ""
    for values in ([one.average_accuracy for one in metrics], [one.worst_group_accuracy for one in metrics]):
        spread = f"{stdev(values):.3f}" if len(values) > 1 else "-"
        cells += f"{mean(values):>8.3f}{spread:>7}"
    return f"{name:<28}{cells}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Finetune from a linear probe and from a fresh head, over seeds.")
    parser.add_argument("--store", default="store", help="directory of the store (default: %(default)s)")
    parser.add_argument("--dataset", default="footwear")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--random-weights", action="store_true", help="start from random weights")
    parser.add_argument("--l2", type=float, default=0.01, help="penalty of the probe (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3, help="runs from each start (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
