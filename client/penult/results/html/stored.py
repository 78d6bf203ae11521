"""Datasets, feature sets and runs as HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penult.display.html import Row, card, pairs, table
from penult.display.names import in_usual_order
from penult.results.html.groups import groups_table

if TYPE_CHECKING:
    from penult.results.metrics import EpochMetrics
    from penult.results.records import Dataset, Features, FeatureSet, Run, RunManifest, Split


def dataset_html(dataset: Dataset) -> str:
    """Examples of every group in every split."""
    splits = {split.name: split for split in dataset.splits}
    ordered = [splits[name] for name in in_usual_order(splits)]
    groups = {group.name: group for split in ordered for group in split.groups}
    counts = [{group.name: group.count for group in split.groups} for split in ordered]
    rows = [(name, *(str(count.get(name, 0)) for count in counts)) for name in groups]
    totals = Row(("all", *(str(split.n_examples) for split in ordered)))
    masks = [(mask, *(str(split.mask_counts[place]) for split in ordered)) for place, mask in enumerate(dataset.masks)]
    header = [f"{split.name} n" for split in ordered]
    facts = {
        "modality": dataset.modality,
        "digest": dataset.digest,
        "classes": dataset.classes,
        **{attribute.name: attribute.values for attribute in dataset.attributes},
        "description": dataset.description,
    }
    return card(
        f"Dataset {dataset.name}",
        pairs(facts),
        table(["group", *header], rows, last=[totals]) if rows else "",
        table(["mask", *header], masks) if masks else "",
        notes=dataset.notes,
    )


def split_html(split: Split) -> str:
    """Examples of every group."""
    rows = [(group.name, str(group.count)) for group in split.groups]
    return card(f"Split {split.name}", table(["group", "n"], rows, last=[Row(("all", str(split.n_examples)))]))


def feature_set_html(features: FeatureSet) -> str:
    """Where the features come from, and their groups."""
    shares = features.train_shares
    has_shares = len(shares) == len(features.groups) > 0
    rows = [
        (group.name, str(group.count), *([f"{shares[place]:.3f}"] if has_shares else []))
        for place, group in enumerate(features.groups)
    ]
    facts = {
        "digest": features.digest,
        "names": features.names,
        "shape": f"{features.n_examples} x {features.n_features} {features.dtype}",
        "checkpoint": features.checkpoint,
        "features": features.feature_kind,
        "head": "stored" if features.has_head else "none",
        "logits": "stored" if features.has_logits else "none",
        "bytes": f"{features.stored_bytes:,}",
        "created": features.created,
    }
    header = ["group", "n", *(["share of training"] if has_shares else [])]
    last = [Row(("all", str(features.n_examples), *([""] if has_shares else [])))]
    return card(f"FeatureSet {origin(features)}", pairs(facts), table(header, rows, last=last), notes=features.notes)


def origin(features: FeatureSet) -> str:
    """What a set is called: its dataset and split, its names, or that it was uploaded."""
    return f"{features.dataset}/{features.split}" if features.dataset else ", ".join(features.names) or "uploaded"


def features_html(features: Features) -> str:
    """Shapes of the arrays, and the set they are of."""
    names = ("features", "y", "a", "row_id", "logits", "head_weight", "head_bias", "attributes", "masks")
    arrays = {name: getattr(features, name) for name in names}
    return card("Features", pairs(arrays), feature_set_html(features.feature_set))


def run_html(run: Run) -> str:
    """The recipe, and the last accuracies of every group in every split."""
    spec = run.spec
    facts = {
        "id": run.id,
        "backbone": spec.backbone,
        "dataset": spec.dataset,
        "balance": spec.balance,
        "seed": spec.seed,
        "epochs": spec.epochs,
        "training examples": run.n_train_examples,
        "seconds": round(run.train_seconds, 1),
        "created": run.created,
        "checkpoints": [f"{one.digest[:12]} (epoch {one.epoch:g})" for one in run.checkpoints],
    }
    last = last_metrics(run)
    when = {entry.epoch for entry in last.values()}
    at = f"epoch {when.pop():g}" if len(when) == 1 else "the last epoch of each split"
    shown = {name: entry.metrics for name, entry in last.items()}
    return card("Run", pairs(facts), groups_table(shown, f"after {at}") if last else "", notes=run.notes)


def last_metrics(run: Run) -> dict[str, EpochMetrics]:
    """The last metrics of every split, in the usual order."""
    last = {entry.split: entry for entry in sorted(run.history, key=lambda entry: entry.epoch)}
    return {name: last[name] for name in in_usual_order(last)}


def manifest_html(manifest: RunManifest) -> str:
    """Everything, the versions of libraries included."""
    facts = {
        "run": manifest.run_id,
        "weights": manifest.weights,
        "device": manifest.device,
        "threads": manifest.threads,
        "resumed at": manifest.resumed_at,
        "examples of an epoch": len(manifest.kept_row_ids),
        "dataset digest": manifest.dataset_digest,
        "created": manifest.created,
    }
    return card("RunManifest", pairs(facts), pairs(manifest.versions), pairs(manifest.spec.arguments()))
