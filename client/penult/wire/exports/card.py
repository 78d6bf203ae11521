"""The model card of an export: ``README.md``, from what ``penult.json`` says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

_LOADED = {
    "timm": """import timm
from timm.data import create_transform, resolve_data_config

model = timm.create_model("local-dir:{path}", pretrained=True).eval()
transform = create_transform(**resolve_data_config({{}}, model=model))""",
    "transformers, text": """from transformers import AutoModelForSequenceClassification, AutoTokenizer

model = AutoModelForSequenceClassification.from_pretrained("{path}").eval()
tokenizer = AutoTokenizer.from_pretrained("{path}")  # tokenizer(texts, truncation=True, padding=True)""",
    "transformers, image": """from transformers import AutoImageProcessor, AutoModelForImageClassification

model = AutoModelForImageClassification.from_pretrained("{path}").eval()
processor = AutoImageProcessor.from_pretrained("{path}")""",
    "safetensors": """from safetensors.numpy import load_file

state = load_file("{path}/model.safetensors")  # the other facts are in penult.json""",
}


def card(said: Mapping[str, Any], name: str) -> str:
    """The card of an export; `name` is that of its directory."""
    parts = (
        _front_matter(said),
        f"# {_escaped(name)}",
        _summary(said),
        _loading(said, name),
        _classes(said),
        _preprocessing(said["preprocessing"]),
        _head(said["head"]),
        _metrics(said),
        _provenance(said),
    )
    return "\n\n".join(parts) + "\n"


def _front_matter(said: Mapping[str, Any]) -> str:
    task = "image-classification" if said["preprocessing"]["kind"] == "image" else "text-classification"
    library = [] if said["format"] == "safetensors" else [f"library_name: {said['format']}"]
    return "\n".join(["---", *library, f"pipeline_tag: {task}", "tags:", "- penult", "---"])


def _summary(said: Mapping[str, Any]) -> str:
    checkpoint = said["checkpoint"]
    trained = ""
    if imported := _imported(checkpoint):
        trained = f", imported from {_code(imported)}"
        trained += f", trained on {_code(checkpoint['dataset'])}" if checkpoint["dataset"] else ""
    elif checkpoint["dataset"]:
        steps = f"{checkpoint['step']} steps ({checkpoint['epoch']:g} epochs)"
        trained = f", {steps} trained on {_code(checkpoint['dataset'])}"
    exported = f"{_code(checkpoint['backbone'])}{trained}, exported by penult {said['penult']}."
    return f"{exported} Everything on this page stands in `penult.json`, too."


def _imported(checkpoint: Mapping[str, Any]) -> str:
    """The name of what a checkpoint was imported from; empty for one of a run."""
    kind, _, source = str(checkpoint["source"]).partition(" ")
    return source.rpartition(" sha256:")[0] if kind == "import" else ""


def _loading(said: Mapping[str, Any], name: str) -> str:
    kind = said["format"]
    if kind == "transformers":
        kind += f", {said['preprocessing']['kind']}"
    return f"## Loading it\n\n```python\n{_LOADED[kind].format(path=name)}\n```"


def _classes(said: Mapping[str, Any]) -> str:
    rows = [(str(index), _escaped(name)) for index, name in enumerate(said["classes"])]
    return "## Classes\n\n" + _table(("logit", "class"), rows)


def _preprocessing(said: Mapping[str, Any]) -> str:
    values = [f"- {name}: {value}" for name, value in said.items() if name not in ("kind", "steps")]
    return "\n".join(["## Preprocessing", "", f"{said['steps']}:".capitalize(), "", *values])


def _head(said: Mapping[str, Any]) -> str:
    lines = [f"The head is {_code(said['source']) if said['source'].startswith('refit') else said['source']}."]
    if "fitted_on" in said:
        method = said["preset"] or f"balance {said['balance']}"
        lines.append(
            f"It was fitted by {_code(method)} (l1 {said['l1']:g}, l2 {said['l2']:g}) on feature set "
            f"{_code(said['fitted_on'])}."
        )
    remarks = [f"- {_escaped(one)}" for one in said.get("remarks", ())]
    if said.get("largest_rounding"):
        remarks.append(f"- largest rounding of an entry: {said['largest_rounding']:.1e}")
    return "\n\n".join(["## Head", " ".join(lines), *(["\n".join(remarks)] if remarks else [])])


def _metrics(said: Mapping[str, Any]) -> str:
    title = "## Accuracy by group"
    if not said["metrics"]:
        return (
            f"{title}\n\nNothing was measured of exactly this model. `client.evaluate(head, features)` measures it on "
            "features of this checkpoint."
        )
    return f"{title}\n\nIntervals are Wilson's, of 95 %.\n\n" + "\n\n".join(
        _set(name, one) for name, one in said["metrics"].items()
    )


def _set(name: str, metrics: Mapping[str, Any]) -> str:
    rows = [
        (
            f"{_escaped(one['name'])}{' (worst)' if one['is_worst'] else ''}",
            str(one["n"]),
            str(one["correct"]),
            *(["empty", ""] if one["accuracy"] is None else [f"{one['accuracy']:.4f}", _interval(one)]),
        )
        for one in metrics["groups"]
    ]
    weighted = metrics["weighted_average_accuracy"]
    averages = [f"average {metrics['average_accuracy']:.4f}"]
    averages += [] if weighted is None else [f"average weighted by training shares {weighted:.4f}"]
    averages.append(f"worst group {metrics['worst_group_accuracy']:.4f}")
    table = _table(("group", "n", "correct", "accuracy", "interval"), rows)
    notes = "".join(f"\n\nNote: {_escaped(note)}" for note in metrics["notes"])
    return f"### {_escaped(name)}\n\n{table}\n\n{', '.join(averages)}{notes}".replace("average", "Average", 1)


def _interval(group: Mapping[str, Any]) -> str:
    return f"{group['low']:.4f} to {group['high']:.4f}"


def _provenance(said: Mapping[str, Any]) -> str:
    checkpoint = said["checkpoint"]
    facts: dict[str, object] = {
        "checkpoint": checkpoint["digest"],
        "source": checkpoint["source"],
        "head": checkpoint["head"],
        "digest of the weights": said["weights_digest"],
        "run": checkpoint["run"] or "none",
        "steps": checkpoint["step"],
        "dataset": checkpoint["dataset"] or "not known",
        "digest of the dataset": checkpoint["dataset_digest"] or "not known",
        "groups": f"class x {checkpoint['attribute']}" if checkpoint["attribute"] else "not known",
        "starting weights": said["starting_weights"] or "not known",
        "created": checkpoint["created"],
    }
    versions: Mapping[str, str] = said["versions"] or {}
    facts |= {f"version of {name}": value for name, value in versions.items()}
    recipe = said["recipe"]
    if _imported(checkpoint):
        read = "\n".join(f"- {_escaped(note)}" for note in checkpoint["notes"])
        written = f"The recipe is not known: the model was trained elsewhere. How its files were read:\n\n{read}"
    elif recipe is None:
        written = "The recipe is not known: the run has not ended, or it is not stored any more."
    else:
        written = "Recipe, the arguments of `client.finetune`:\n\n" + _table(("argument", "value"), _pairs(recipe))
    return f"## Provenance\n\n{_table(('fact', 'value'), _pairs(facts))}\n\n{written}"


def _pairs(facts: Mapping[str, object]) -> list[tuple[str, str]]:
    return [(name, _code(_as_written(value))) for name, value in facts.items()]


def _as_written(value: object) -> str:
    """Options as a script makes them; other values as they print."""
    if not isinstance(value, dict):
        return str(value)
    said = {name: one for name, one in cast("dict[str, object]", value).items() if name != "class"}
    return f"{value['class']}({', '.join(f'{name}={one!r}' for name, one in said.items())})"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escaped(text: str) -> str:
    """Text that a table and Markdown leave as it is."""
    flat = " ".join(text.split())
    return "".join(f"\\{one}" if one in "\\`*_[]<>|#" else one for one in flat)


def _code(text: str) -> str:
    flat = " ".join(text.split()).replace("|", "\\|")
    return f"`{flat}`" if "`" not in flat else _escaped(text)
