"""Is a spectral imbalance between two groups real, or an effect of their sizes alone?

Data: features of a network finetuned on `footwear`. Each class has 950 training examples on one ground and 50 on the
other, and 250 test examples on either. rho is the largest eigenvalue of the minority's covariance over that of the
majority's (LaBonte et al. 2024, section 5).

What the answer means: rho rises when the minority is small, whatever its distribution. "size alone" is rho where random
examples of the majority, as many, stand for the minority: the middle 90 % of the draws. "at equal n" is rho over
their median, with the 95 % bootstrap interval of what the two populations have in samples of that size; p is a
permutation test of "one covariance", adjusted for the number of classes. A large p says that these examples show no
imbalance, not that there is none. The test features, with 25 to 200 examples of each minority, tell how many it takes
to see one, and whether it belongs to the groups or to the examples that the network was trained on.

    python is_this_imbalance_real.py

Expected, after four minutes of processor time (two CPU cores, 2026-11): more than size for sneakers, not clearly for
boots. Test features show the opposite for sneakers, nothing for boots: it belongs to the examples trained on.

    training features              n    rho     size alone  at equal n        interval      p
    sneaker, gravel         50 v 950   2.23   1.05 .. 1.70        1.70    1.14 .. 3.14  0.040
    ankle boot, grass       50 v 950   1.62   0.87 .. 1.77        1.36    1.05 .. 1.79  0.095
    test features
    sneaker, gravel         25 v 250   0.67                       0.52    0.23 .. 0.86  0.010
    ...
    sneaker, gravel        200 v 250   0.70                       0.69    0.53 .. 0.85  0.020
    ankle boot, grass      200 v 250   1.13                       1.12    0.87 .. 1.45  0.403
"""

import argparse

import numpy as np

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
        sets = client.extract(run.checkpoints[-1], splits=["train", "test"]).wait(progress=True)

        spectra = client.spectra(sets["train"], by="group", top_k=1, replicates=options.replicates, seed=0)
        train = client.features.read(sets["train"])
        print("training features              n    rho     size alone  at equal n        interval      p")
        for entry in spectra.imbalance:
            low, high = np.quantile(size_alone(train, entry, options.replicates), [0.05, 0.95])
            print_line(entry, f"{low:.2f} .. {high:.2f}")

        test = client.features.read(sets["test"])
        minorities = [entry.minority_index for entry in spectra.imbalance]
        print("test features")
        for n in options.n:
            rows = test.row_id[first_of_each(test.g, minorities, n)]
            chosen = client.spectra(sets["test"], rows=rows, top_k=1, replicates=options.replicates, seed=0)
            for entry in chosen.imbalance:
                print_line(entry)


def size_alone(features: penult.Features, entry: penult.Imbalance, n_draws: int) -> np.ndarray:
    """rho with as many random examples of the majority in place of the minority: the effect of size alone."""
    majority = features.features[features.g == entry.majority_index].astype(np.float64)
    rng = np.random.default_rng(0)
    draws = [top_eigenvalue(rng.choice(majority, entry.n_minority, replace=False)) for _ in range(n_draws)]
    return np.array(draws) / top_eigenvalue(majority)


def top_eigenvalue(rows: np.ndarray) -> float:
    """Largest eigenvalue of the covariance (divisor n) of rows (n, D), from their n x n products."""
    centered = rows - rows.mean(axis=0)
    return float(np.linalg.eigvalsh(centered @ centered.T)[-1] / len(rows))


def first_of_each(g: np.ndarray, groups: list[int], n: int) -> np.ndarray:
    """Positions of the first n rows of each of `groups`, and of all rows of the others."""
    return np.concatenate([np.flatnonzero(g == one)[: n if one in groups else None] for one in np.unique(g)])


def print_line(entry: penult.Imbalance, size: str = "") -> None:
    n = f"{entry.n_minority} v {entry.n_majority}"
    interval = f"{entry.low:.2f} .. {entry.high:.2f}"
    print(
        f"{entry.minority:<22}{n:>10}{entry.ratio:>7.2f}{size:>15}"
        f"{entry.matched_ratio:>12.2f}{interval:>16}{entry.p_adjusted:>7.3f}"
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Spectral imbalance, and how much of it is an effect of size alone.")
    parser.add_argument("--store", default="store", help="directory of the store (default: %(default)s)")
    parser.add_argument("--dataset", default="footwear")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--random-weights", action="store_true", help="start from random weights")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument(
        "--replicates", type=int, default=200, help="replicates of each resampling (default: %(default)s)"
    )
    parser.add_argument("--n", type=int, nargs="+", default=[25, 50, 100, 200], help="test examples of each minority")
    return parser.parse_args()


if __name__ == "__main__":
    main()
