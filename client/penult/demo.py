"""``penult demo``: the main job from end to end, on shoes photographed on grass and gravel.

The ground goes with the shoe in training and not in the test: a finetuned model predicts by it, which shows in
its worst group. Refits of the last layer on balanced held-out features repair most of that. Everything is
stored; a second run computes nothing anew.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from penult.client import Client
from penult.connecting import local
from penult.plots import plot_history, save
from penult.results.frames import text_table
from penult.results.groupings.grouping import Grouping
from penult.results.metrics import Metrics
from penult.results.records import FeatureSet, Run
from penult.types import Preset

DATASET = "footwear"
BACKBONE = "tf_efficientnet_lite0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """One line of the comparison."""

    head: str
    features: str
    metrics: Metrics


def run_demo(root: Path) -> None:
    """Finetune, extract, ask for spectra and refits, print and draw the answers.

    Raises `PenultError`, and ImportError when the server's or the plots' packages are missing.
    """
    started = time.monotonic()
    figures = root.expanduser().resolve() / "figures"
    with local(root) as client:
        info = client.info()
        print(f"penult {info.version}, store {info.root}\n")
        print("1. Finetune all weights; group accuracies after every epoch")
        run = client.finetune(dataset=DATASET, backbone=BACKBONE, balance="none", epochs=2, seed=0).wait(progress=True)
        print(history_table(run))
        print("\n2. Cache penultimate features of the finetuned and of the untouched backbone")
        tuned = client.extract(run.checkpoints[-1]).wait(progress=True)
        untouched = client.extract(run.checkpoints[0]).wait(progress=True)
        for name, sets in (("finetuned", tuned), ("untouched", untouched)):
            for split, features in sets.items():
                print(f"   {name:<10} {split:<6} {features}")
        print("\n3. Retrain the last layer; accuracies on the test split")
        print(scores_table(compare_heads(client, run, tuned, untouched)))
        print("\n4. Spectra of the finetuned training features, per group")
        spectra = client.spectra(tuned["train"], by="group", top_k=50)
        print(spectra)
        save(spectra.plot(), figures / "spectra.png")
        save(plot_history(run), figures / "accuracies.png")
        print("\n5. The same without the attribute: groups found in the untouched training features, then balanced")
        found = [client.discover(untouched["train"], method=method) for method in ("regularised_errors", "xrm")]
        for grouping in found:
            print(f"{grouping.method}: {client.score_grouping(grouping)}\n")
        print(scores_table(compare_groupings(client, untouched, found)))
        save(client.map(untouched["train"], by=found[-1]).plot(), figures / "found.png")
    print(closing(root, tuned, figures))
    print(f"\n{time.monotonic() - started:.1f} s in all")


def compare_heads(
    client: Client, run: Run, tuned: dict[str, FeatureSet], untouched: dict[str, FeatureSet]
) -> list[Scores]:
    """The finetuned head and refits, scored on the test split of the features they belong to."""
    refits: list[tuple[Preset, str, str]] = [
        ("erm", "train", "finetuned"),
        ("class_balanced", "train", "finetuned"),
        ("dfr", "val", "finetuned"),
        ("dfr_l2", "val", "finetuned"),
        ("dfr", "val", "untouched"),
        ("dfr_l2", "val", "untouched"),
    ]
    sets = {"finetuned": tuned, "untouched": untouched}
    own = client.evaluate(run.checkpoints[-1], tuned["test"])
    return [
        Scores(head="finetuned head (ERM)", features="finetuned", metrics=own),
        *(
            Scores(
                head=f"refit {preset} on {split}",
                features=features,
                metrics=client.refit(
                    sets[features][split], preset=preset, evaluate={"test": sets[features]["test"]}
                ).metrics["test"],
            )
            for preset, split, features in refits
        ),
    ]


def compare_groupings(client: Client, sets: dict[str, FeatureSet], found: list[Grouping]) -> list[Scores]:
    """Refits on training features that balance classes, the groups that were found, and the true ones."""
    train, evaluate = sets["train"], {"test": sets["test"]}
    refits = {
        "classes": client.refit(train, preset="dfr_l2", balance="subsetting", by="class", evaluate=evaluate),
        **{
            f"groups found by {one.method}": client.refit(train, preset="dfr_l2", by=one, evaluate=evaluate)
            for one in found
        },
        "true groups": client.refit(train, preset="dfr_l2", evaluate=evaluate),
    }
    return [
        Scores(head=f"refit dfr_l2 on train, {name}", features="untouched", metrics=refit.metrics["test"])
        for name, refit in refits.items()
    ]


def history_table(run: Run) -> str:
    """Accuracies per epoch and split, one column per group."""
    names = [group.name for group in run.history[0].metrics.groups]
    rows = [
        (
            f"{entry.epoch:g}  {entry.split}",
            f"{entry.metrics.average_accuracy:.3f}",
            f"{entry.metrics.worst_group_accuracy:.3f}",
            *(f"{accuracy:.3f}" for accuracy in entry.metrics.group_accuracy),
        )
        for entry in run.history
    ]
    return text_table(("epoch", "average", "worst group", *names), rows)


def scores_table(scores: list[Scores]) -> str:
    """Average, weighted and worst-group accuracy per head."""
    rows = [
        (
            score.head,
            score.features,
            f"{score.metrics.average_accuracy:.3f}",
            f"{score.metrics.weighted_average_accuracy:.3f}",
            f"{score.metrics.worst_group_accuracy:.3f}",
            score.metrics.worst_group.name,
        )
        for score in scores
    ]
    return text_table(("head", "features", "average", "weighted", "worst group", "which"), rows)


def closing(root: Path, tuned: dict[str, FeatureSet], figures: Path) -> str:
    """Where everything is and how to ask again."""
    return "\n".join(
        [
            f"\nEverything is stored in {root.expanduser().resolve()}, figures in {figures}. Ask again, from Python:",
            "    import penult",
            f"    client = penult.local({str(root)!r})",
            f"    print(client.spectra({tuned['train'].digest[:12]!r}, by='group').imbalance)",
            f"Or look at it in a browser: penult web --root {root}",
        ]
    )
