"""Which groups does a finetuned model fail, when nobody has labelled them, and is a refit on the found ones worth it?

Data: `footwear`, two classes on two grounds; the ground is hidden from every method and from every refit but "true
groups", and used for scoring alone. In training 950 of 1,000 examples of each class lie on "their" ground, in the
held-out split, whose rows are grouped and refitted on, all four groups have 100, in the test split 250.

What the answer means: "ARI" is how well the groups found within each class agree with the true ones (0: by chance; "p":
the share of shuffled groups that agree as well), "worst group" what a refit balanced over them reaches on the
test split, and "gap closed" how much that is of the way from the finetuned head to a refit on the true groups, with an
interval over the test rows. Look at "classes" first: where the rows are balanced, groups may add nothing to it.

    python hidden_groups.py                      # a finetuning, and a minute
    python hidden_groups.py --methods xrm gmm    # `print(client.grouping_methods())` lists them

Expected (two CPU cores, 2026-11):

    groups from         groups    ARI      p  precision  recall  worst group  average  gap closed          95 %
    none                     –      –      –          –       –        0.488    0.816           –
    classes                  2      –      –          –       –        0.812    0.904        1.01  0.97 .. 1.06
    true groups              4      –      –          –       –        0.808    0.902           –
    errors                   4  0.142  0.005      0.567   0.895        0.712    0.862        0.70  0.49 .. 0.93
    regularised_errors       4  0.085  0.005      0.526   0.890        0.760    0.876        0.85  0.64 .. 1.08
    kmeans                   4  0.201  0.005      0.815   0.740        0.748    0.903        0.81  0.69 .. 0.91
    gmm                      4  0.082  0.005      0.562   0.890        0.624    0.868        0.42  0.20 .. 0.59
    george                   6  0.235  0.005      0.838   0.720        0.644    0.873        0.49  0.27 .. 0.65
    facts                    4  0.461  0.005      0.889   0.780        0.848    0.914        1.12  1.04 .. 1.25
    xrm                      4  0.123  0.005      0.549   0.890        0.792    0.869        0.95  0.74 .. 1.18

and the seconds that each method took. The held-out rows are balanced, so balancing classes is enough. The errors of the
finetuned head are its hard rows rather than a ground; a mixture within each class that also looks at a strongly
regularised head finds the grounds best.
"""

import argparse

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
        sets = client.extract(run.checkpoints[-1]).wait(progress=True)
        print(client.discover_all(sets["val"], fit=sets["train"], test=sets["test"], methods=options.methods))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Groups found by several methods, and refits on them.")
    parser.add_argument("--store", default="store", help="directory of the store (default: %(default)s)")
    parser.add_argument(
        "--methods",
        nargs="+",
        default=["errors", "regularised_errors", "kmeans", "gmm", "george", "facts", "xrm"],
        help="names of methods (default: %(default)s)",
    )
    parser.add_argument("--dataset", default="footwear")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--random-weights", action="store_true", help="start from random weights")
    parser.add_argument("--epochs", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
