"""Which balancing of the training set gives the best worst group, and by more than the seeds differ?

Data: `footwear`, two classes on two grounds. In training 950 of 1,000 examples of each class lie on "their" ground;
in the test split all four groups have 250. Each balancing is finetuned once per seed, and the runs of one seed begin
with the same weights. The last epoch counts; nothing is selected.

What the answer means: "worst group" is the mean over seeds of the lowest group accuracy on the test split and "sd" its
standard deviation; "over none" is the mean difference from the unbalanced run of the same seed, "+-" its standard
error. A balancing wins where the difference is several standard errors, which three seeds tell only roughly. The
classes of `footwear` are balanced already: `--by class` can change little here.

    python which_balancing.py                    # 15 finetunings
    python which_balancing.py --seeds 10         # the first three seeds are in the store by then

Expected of the three seeds (two CPU cores, 2026-11; seven minutes):

    balance      examples  average  worst group     sd  over none     +-  best in
    none             2000    0.775        0.476  0.045     +0.000  0.000     0/3
    subsetting        200    0.763        0.567  0.137     +0.091  0.085     0/3
    upsampling       2000    0.871        0.760  0.042     +0.284  0.036     0/3
    upweighting      2000    0.881        0.836  0.024     +0.360  0.026     3/3
    mixture           500    0.835        0.687  0.121     +0.211  0.062     0/3

Weighting the loss by 1/count wins in every seed. Subsetting to 200 examples differs from none by less than its own
seeds differ.
"""

import argparse

import numpy as np

import penult


def main() -> None:
    options = arguments()
    with penult.local(options.store) as client:
        runs = client.finetunes(
            [
                {"balance": "none"},
                {"balance": "subsetting", "by": options.by},
                {"balance": "upsampling", "by": options.by},
                {"balance": "upweighting", "by": options.by},
                {"balance": "mixture", "by": options.by, "ratio": options.ratio},
            ],
            seeds=range(options.seeds),
            dataset=options.dataset,
            backbone=options.backbone,
            pretrained=not options.random_weights,
            epochs=options.epochs,
            inputs=penult.Images(size=options.image_size),
        ).wait(progress=True)

    # One row per balancing, one column per seed: seeds run fastest.
    test = [run.metrics("test") for run in runs]
    worst = np.reshape([one.worst_group_accuracy for one in test], (-1, options.seeds))
    average = np.reshape([one.average_accuracy for one in test], (-1, options.seeds))
    gain = worst - worst[0]
    best = worst.argmax(axis=0)

    print("balance      examples  average  worst group     sd  over none     +-  best in")
    for i, run in enumerate(runs[:: options.seeds]):
        print(
            f"{run.spec.balance:<13}{run.n_train_examples:>8}{average[i].mean():>9.3f}{worst[i].mean():>13.3f}"
            f"{sd(worst[i]):>7.3f}{gain[i].mean():>+11.3f}{sd(gain[i]) / np.sqrt(options.seeds):>7.3f}"
            f"{np.count_nonzero(best == i):>6}/{options.seeds}"
        )


def sd(values: np.ndarray) -> float:
    """Standard deviation of a sample; NaN of a single value."""
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Worst-group accuracy of each balancing, over seeds.")
    parser.add_argument("--store", default="store", help="directory of the store (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each balancing (default: %(default)s)")
    parser.add_argument("--by", choices=("group", "class"), default="group")
    parser.add_argument(
        "--ratio", type=float, default=4, help="ratio of the mixture, largest to smallest (default: %(default)s)"
    )
    parser.add_argument("--dataset", default="footwear")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--random-weights", action="store_true", help="start from random weights")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--image-size", type=int, default=48, help="pixels; few are fast (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
