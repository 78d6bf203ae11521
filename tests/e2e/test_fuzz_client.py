"""Every public call of the client, with whatever people pass: an answer, or a `PenultError` that is no bug of ours.

Calls and their arguments are found by looking: a new argument is drawn by itself, and fails the test until it has a
value that is right (`RIGHT`). A longer run, with the same examples first:

    PENULT_FUZZ_EXAMPLES=20000 .venv/bin/python -m pytest tests/e2e/test_fuzz_client.py -s --timeout=0 \
        -o faulthandler_timeout=0
"""

import inspect
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wild_values import POOLS, WILD

import penult
from penult.errors import from_kind
from penult.results import records
from penult.types import GridName, MergeMethodName, Preset, RecipeName, SelectMetric
from penult_proto.errors import ErrorKind

N_EXAMPLES = int(os.environ.get("PENULT_FUZZ_EXAMPLES", "250"))
MOST_SECONDS = 60.0
"""For one call: longer is a hang."""
CLOSES = {"Client.close", "Grouping.bound"}
"""Public, and not drawn: nothing could be asked after them."""

FAULTS = ("internal", "worker_died", "shutting_down", "store_corrupt")
"""Kinds of what is never the caller's doing."""

RIGHT: dict[str, tuple[str, ...]] = {
    "Checkpoints.export.format": ("timm", "safetensors"),
    "Checkpoints.export.overwrite": ("yes", "no"),
    "Checkpoints.export.path": ("file to write",),
    "Checkpoints.import_.foreign_objects": ("refuse", "ignore"),
    "Checkpoints.import_.image_mean": ("absent",),
    "Checkpoints.import_.image_resize": ("four", "absent"),
    "Checkpoints.import_.image_size": ("four", "absent"),
    "Checkpoints.import_.image_std": ("absent",),
    "Checkpoints.import_.interpolation": ("bilinear",),
    "Checkpoints.import_.max_tokens": ("absent",),
    "Checkpoints.import_.on_server": ("yes", "no"),
    "Checkpoints.import_.pooling": ("absent",),
    "Client.merge.allow_datasets": ("yes", "no"),
    "Client.merge.allow_extrapolation": ("yes", "no"),
    "Client.merge.base": ("checkpoint", "absent"),
    "Client.merge.blocks": ("absent",),
    "Client.merge.bn": ("reestimate", "average", "first", "absent"),
    "Client.merge.bn_stream": ("natural", "class", "group", "absent"),
    "Client.merge.checkpoints": ("checkpoints", "runs"),
    "Client.merge.density": ("half", "absent"),
    "Client.merge.heads": ("first", "merged", "absent"),
    "Client.merge.k": ("two", "absent"),
    "Client.merge.method": get_args(MergeMethodName),
    "Client.merge.row_stream": ("natural", "class", "group", "absent"),
    "Client.merge.scope": ("body", "full", "head"),
    "Client.merge.select": ("absent", "merge select"),
    "Client.merge_curve.blocks": ("absent",),
    "Client.merge_curve.first": ("checkpoint",),
    "Client.merge_curve.scope": ("body", "full"),
    "Client.merge_curve.second": ("merge",),
    "Client.merge_curve.t": ("absent", "places"),
    "Client.merge_report.base": ("checkpoint", "absent"),
    "Client.merge_report.blocks": ("absent",),
    "Client.merge_report.checkpoints": ("checkpoints", "runs"),
    "Client.merge_report.features": ("sets", "absent"),
    "Client.merge_report.scope": ("body", "full", "head"),
    "Client.lineage.checkpoint": ("checkpoint", "merge"),
    "Client.merge.shares": ("absent", "shares"),
    "Client.merge.then": ("absent", "then"),
    "Listing.columns.most": ("four",),
    "Client.duplicates.metric": ("l2",),
    "Client.evaluate_neighbours.k": ("[1]", "one", "absent"),
    "Client.discover.method": ("errors", "regularised_errors", "predictions", "kmeans"),
    "Client.discover.seeds": ("absent", "two"),
    "Client.discover_all.groupings": ("named groupings",),
    "Client.discover_all.methods": ("methods",),
    "Client.discover_all.preset": ("dfr_l2", "class_balanced"),
    "Client.finetune.balance": ("none", "subsetting"),
    "Client.finetune.evaluate": ("splits",),
    "Client.finetune.head": ("keep", "new"),
    "Client.finetune.start": ("checkpoint",),
    "Client.finetune.weights": ("table",),
    "Client.finetunes.start": ("checkpoint",),
    "Client.grouping_stability.method": ("regularised_errors", "kmeans"),
    "Client.grouping_stability.seeds": ("two seeds",),
    "Client.merge.alpha": ("half", "absent"),
    "Client.merge.rows": ("four", "absent"),
    "Client.soup_heads.by_group": ("yes", "no"),
    "Client.soup_heads.groups": ("absent", "two seeds"),
    "Client.soup_heads.margin": ("zero number", "half"),
    "Client.soup_heads.weights": ("uniform", "learned", "greedy", "fisher", "moments"),
    "Client.interpolate.first": ("head", "refit", "checkpoint"),
    "Client.interpolate.second": ("head", "refit", "checkpoint"),
    "Client.examples.row_ids": ("val row ids",),
    "Client.examples.side": ("sixteen",),
    "Client.examples.split": ("val",),
    "Client.gallery.most": ("four",),
    "Client.gallery.neighbours": ("shown neighbours",),
    "Client.gallery.rows": ("val row ids", "absent"),
    "Client.gallery.side": ("sixteen",),
    "Client.map.method": ("pca",),
    "Client.leaks.by": ("absent",),
    "Client.leaks.metric": ("l2",),
    "Client.leaks.splits": ("sets",),
    "Client.neighbours.method": ("exact", "hnsw", "absent"),
    "Client.neighbours.recall": ("half", "one"),
    "Client.neighbours.within": ("class", "other_group", "absent"),
    "Client.diagnose.ids": ("diagnostic ids", "nc"),
    "Client.diagnose.numbers": ("absent",),
    "Client.diagnose.other": ("absent", "set"),
    "Client.diagnose_run.ids": ("diagnostic ids", "cdnv"),
    "Client.diagnose_run.numbers": ("absent",),
    "RunDiagnosis.curve.id": ("cdnv",),
    "RunDiagnosis.curve.part": ("absent", "all"),
    "RunDiagnosis.learning_order.id": ("decodability_bits",),
    "RunDiagnosis.learning_order.share": ("half", "one"),
    "RunDiagnosis.matrix.id": ("cdnv",),
    "RunDiagnosis.values.id": ("cdnv",),
    "RunDiagnosis.values.part": ("absent", "all"),
    "Client.compare.items": ("checkpoints",),
    "Client.compare.measures": ("absent", "evenness"),
    "Client.compare.select_split": ("absent", "val"),
    "Client.compare.sizes": ("absent",),
    "Client.explain_gap.group": ("cat, in",),
    "Client.explain_gap.head": ("absent",),
    "Client.explain_gap.held_out": ("val",),
    "Client.explain_gap.label_noise": ("yes", "no"),
    "Client.explain_gap.sets": ("sets",),
    "Client.explain_gap.test": ("val",),
    "Client.influence.on": ("set",),
    "Client.influence.refit": ("refit",),
    "Client.influence.target": ("absent", "cat, in"),
    "Client.influence.top_k": ("two", "zero number"),
    "Client.influence.verify": ("one", "zero number"),
    "Influence.most_harmful.group": ("cat, in",),
    "Influence.most_helpful.group": ("cat, in",),
    "Client.evaluate.calibration": ("absent",),
    "Client.evaluate.panels": ("panels", "absent"),
    "Client.principal_angles.groups": ("two groups",),
    "Client.run_spectra.weights": ("uniform", "errors"),
    "Client.spectra.weights": ("uniform", "errors"),
    "Client.refit.rows": ("some rows", "all", "top_loss", "top_disagreement", "loss_ends"),
    "Client.refits.requests": ("refit requests",),
    "FeatureSets.upload.features": ("rows", "tensor float", "tensor bfloat16", "DataFrame"),
    "FeatureSets.list.split": ("val",),
    "FeatureSets.upload.y": ("labels", "names", "Series Int64", "tensor labels"),
    "Head.logits.features": ("rows", "tensor float"),
    "Datasets.get.name": ("dataset",),
    "FeatureSets.export.path": ("file to write",),
    "FeatureSets.load.head": ("head", "absent"),
    "FeatureSets.load.name": ("new name",),
    "FeatureSets.load.path": ("file of features", "file of groups"),
    "FeatureSets.load.y": ("labels", "absent"),
    "Predictions.to_csv.path": ("file to write",),
    "Predictions.to_parquet.path": ("file to write",),
    "load.path": ("saved record",),
    "Datasets.register.splits": ("split values",),
    "Jobs.get.id": ("job",),
    "Jobs.log.last": ("four", "absent"),
    "Jobs.list.kind": ("extract", "finetune"),
    "Results.list.kind": ("principal_angles",),
    "Runs.table.by": ("balance",),
    "Runs.table.metric": ("loss",),
    "Runs.table.split": ("val",),
    "a": ("attributes", "absent"),
    "across": ("splits", "epochs"),
    "across_checkpoints": ("yes",),
    "address": ("address",),
    "against": ("extracted",),
    "alpha": ("half",),
    "among": ("set", "extracted", "absent"),
    "attribute": ("ground", "absent"),
    "attribute_values": ("two names", "absent"),
    "augment": ("augment",),
    "backbone": ("backbone",),
    "balanced": ("yes", "no"),
    "balance": ("none", "subsetting", "upsampling", "upweighting", "mixture"),
    "batch_size": ("four",),
    "bias": ("bias",),
    "allow_datasets": ("yes", "no"),
    "bn": ("average", "first"),
    "bn_stream": ("absent",),
    "block": ("absent",),
    "measure": ("loss", "error"),
    "bn_batch_size": ("four", "absent"),
    "bn_count": ("sixteen", "absent"),
    "bn_seed": ("four", "absent"),
    "by": ("group", "grouping", "class"),
    "center": ("yes", "zero", "head", "stored"),
    "checkpoint": ("checkpoint",),
    "class_ratio": ("half",),
    "class_map": ("renamed", "absent"),
    "classes": ("two names", "absent"),
    "columns": ("columns",),
    "compute": ("compute",),
    "confidence": ("half",),
    "correction": ("one",),
    "dataset": ("dataset",),
    "dependents": ("yes",),
    "description": ("ground",),
    "detector": ("path",),
    "detector_l1": ("half",),
    "digest": ("checkpoint",),
    "dry_run": ("yes",),
    "dtype": ("float16",),
    "epoch": ("zero number",),
    "epochs": ("one",),
    "evaluate": ("evaluated",),
    "features": ("set", "extracted"),
    "feature_set": ("set", "extracted"),
    "first": ("set", "extracted"),
    "fit": ("set", "absent"),
    "FeatureSets.export.format": ("npz", "npy", "parquet", "safetensors"),
    "folds": ("zero number", "two"),
    "gamma": ("one",),
    "Groupings.list.method": ("uploaded", "attribute"),
    "Groupings.upload.names": ("two names", "absent"),
    "Groupings.upload.row_id": ("row ids", "absent"),
    "Groupings.upload.values": ("labels", "names", "Series Int64", "tensor labels", "values by row"),
    "grouping": ("grouping",),
    "grid": ("grid", *(f"grid of {name}" for name in get_args(GridName))),
    "group_coding": ("y*A+a",),
    "groupings": ("groupings",),
    "groups": ("stored", "errors", "eiil"),
    "head": ("head", "checkpoint", "refit"),
    "heads": ("heads",),
    "Diagnosis.matrix.id": ("cdnv",),
    "Diagnosis.value.id": ("cdnv",),
    "Diagnosis.value.part": ("absent", "cat, in / dog, in"),
    "id": ("run",),
    "indices": ("absent", "[1]"),
    "inputs": ("images", "texts"),
    "intercept": ("free", "penalized", "none"),
    "jobs": ("finish", "stop"),
    "job": ("job",),
    "k": ("one",),
    "kind": ("flat",),
    "l1": ("half",),
    "l2": ("half",),
    "largest": ("zero number", "absent"),
    "layout": ("celeba",),
    "limit": ("four",),
    "link": ("ovr", "hinge"),
    "logits": ("logits",),
    "loss": ("cross entropy", "group DRO", "CVaR"),
    "masks": ("masks",),
    "matched": ("yes", "no"),
    "max_iterations": ("four",),
    "metadata": ("absent",),
    "metric": ("cosine", "l2", "inner"),
    "missing_groups": ("skip", "refuse"),
    "name": ("new name",),
    "note": ("ground",),
    "n_attributes": ("two",),
    "offset": ("class_prior", "prediction_prior"),
    "optimizer": ("AdamW", "SGD"),
    "other": ("set",),
    "over": ("seed", "epochs"),
    "path": ("path", "sgd path"),
    "penalty": ("sum",),
    "per_tensor": ("yes", "absent"),
    "permutations": ("four",),
    "plan": ("yes",),
    "power_law": ("ranks",),
    "preset": get_args(Preset),
    "pretrained": ("no",),
    "progress": ("no",),
    "group_ratio": ("half",),
    "ratio": ("four",),
    "recipe": get_args(RecipeName),
    "record": ("record",),
    "repeat": ("repeat errors",),
    "repeats": ("one",),
    "replicates": ("four",),
    "requests": ("finetune requests",),
    "result": ("refit", "spectra", "descriptors"),
    "risk": ("cvar", "group_dro"),
    "root": ("root",),
    "row_id": ("row ids",),
    "rows": ("some rows", "absent"),
    "run": ("run",),
    "runs": ("runs", "absent"),
    "scale": ("half", "absent"),
    "schedule": ("schedule",),
    "second": ("set", "extracted"),
    "seed": ("four",),
    "seeds": ("[1]",),
    "select": ("select on a set", *(f"select by {name}" for name in get_args(SelectMetric))),
    "share": ("half", "absent"),
    "since": ("ago", "2026-11-30", "absent"),
    "smallest": ("half", "absent"),
    "source": ("table",),
    "spectra": ("spectra", "run spectra"),
    "split": ("absent", "val"),
    "splits": ("splits",),
    "standardize": ("yes", "set", "no", "all"),
    "states": ("states",),
    "steps": ("four",),
    "t": ("half", "absent"),
    "tag": ("ground", "splits"),
    "tags": ("splits",),
    "tau": ("half",),
    "temperature": ("half",),
    "threshold": ("half", "zero number", "absent"),
    "test": ("set", "absent"),
    "things": ("yes", "no"),
    "timeout": ("seconds",),
    "tls": ("no",),
    "tls_ca": ("table",),
    "tls_cert": ("table",),
    "tls_key": ("table",),
    "token": ("ground",),
    "tolerance": ("small",),
    "subspace": ("one", "absent"),
    "top_k": ("one",),
    "train": ("set",),
    "train_counts": ("counts",),
    "truth": ("stored", "grouping"),
    "up": ("four",),
    "user": ("ground",),
    "wait": ("no",),
    "weight": ("weight",),
    "weights": ("errors", "row weights", "uniform", "confidence", "detected"),
    "y": ("labels",),
}
"""Names of right values (see `World`), by the name of the argument; for one call by its name before that."""


class World:
    """A small store behind a real server, what it holds, and right values by their names."""

    def __init__(self, client: penult.Client, table: Any) -> None:
        self.client = client
        rng = np.random.default_rng(0)
        x = rng.standard_normal((12, 3)).astype(np.float32)
        y, a = np.arange(12) % 2, np.arange(12) // 2 % 2
        names = {"classes": ["cat", "dog"], "attribute": "ground", "attribute_values": ["in", "out"]}
        head = penult.Head(rng.standard_normal((2, 3)), np.zeros(2))
        dataset = client.datasets.register("shapes", table)
        start = {"dataset": "shapes", "backbone": "test_resnet", "pretrained": False, "epochs": 0}
        job = client.finetune(**start)
        run = job.wait(timeout=120)
        sets = client.extract(run.checkpoints[-1]).wait(timeout=120)
        mine = client.features.upload(x, y, a, head=head, **names)
        refit = client.refit(mine, preset="erm", evaluate={"mine": mine})
        merge = client.merge([run], bn_count=4).wait(timeout=120)
        self.records: dict[str, Any] = {
            "set": mine,
            "extracted": sets["val"],
            "sets": sets,
            "read": client.features.read(mine),
            "val row ids": client.features.read(sets["val"]).row_id[:2],
            "dataset": dataset,
            "job": job,
            "run": run,
            "checkpoint": run.checkpoints[-1],
            "head": head,
            "refit": refit,
            "grouping": client.groupings.from_attribute(mine),
            "metrics": refit.metrics["mine"],
            "jobs": client.finetunes([start]),
            "info": client.info(),
            "labels of a set": mine.labels,
            "curve": client.interpolate(head, refit, mine, steps=2),
            "spectra": client.spectra(mine, replicates=0),
            "run spectra": client.run_spectra(run, split="val", top_k=1, replicates=2),
            "descriptors": client.descriptors(mine),
            "manifest": client.runs.manifest(run),
            "listed runs": client.runs.list(),
            "summary": client.results.list()[0],
            "neighbours": client.neighbours(mine, k=2),
            "neighbour metrics": client.evaluate_neighbours(mine, k=2),
            "duplicates": client.duplicates(mine),
            "label noise": client.label_noise(mine, k=2, folds=2),
            "neighbour rates": client.neighbour_rates(mine, k=2),
            "run neighbours": client.run_neighbours(run, split="val", k=2),
            "diagnosis": client.diagnose(mine, "cdnv", replicates=0),
            "run diagnosis": client.diagnose_run(run, "cdnv", split="val", replicates=0),
            "influence": client.influence(refit, mine, top_k=1),
            "predictions": client.predictions(mine),
            "merge": merge,
            "merge curve": client.merge_curve(run.checkpoints[-1], merge, t=[0.0, 1.0], bn="first").wait(timeout=120),
            "lineage": client.lineage(merge),
            "head soup": client.soup_heads([head, refit], mine),
            "merge methods": client.merge_methods(),
            "client": client,
        }
        places = Path(tempfile.mkdtemp(prefix="penult-test-files-"))
        head.save(places / "head")
        np.savez(places / "features.npz", embeddings=x, y=y)
        np.savez(places / "groups.npz", X=x, g=y * 2 + a)
        path = {"optimizer": "gd", "learning_rate": 0.1, "steps": 3}
        self.values: dict[str, Any] = (
            self.records
            | names
            | {
                "absent": None,
                "AdamW": penult.AdamW(learning_rate=0.5, decay_all=True, clip_norm=0.5, sam=0.5),
                "SGD": penult.SGD(learning_rate=0.5, momentum=0.5, weight_decay=0.5),
                "schedule": penult.Schedule("linear", warmup=0.5, by_epoch=True),
                "cross entropy": penult.CrossEntropy(label_smoothing=0.5),
                "group DRO": penult.GroupDRO(rate=0.5, adjustment=0.5),
                "CVaR": penult.CVaRDRO(fraction=0.5),
                "augment": penult.Augment(flip=False, crop_scale=0.5, mixup=0.5),
                "repeat errors": penult.RepeatErrors(run.checkpoints[-1], times=4),
                "images": penult.Images(size=4, resize=4),
                "texts": penult.Texts(max_tokens=4, pad_to_max=True, pooling="mean"),
                "compute": penult.Compute(precision="fp32", compile=False, accumulate=1, processes=1),
                "record": penult.Record(evaluate_every=1, checkpoint_every=1, early_steps=[1], save_every=1),
                "ago": timedelta(hours=1),
                "address": client.connection.address,
                "attributes": a,
                "backbone": start["backbone"],
                "bias": np.zeros(2),
                "columns": {"y": "y"},
                "counts": {("cat", "in"): 5, 1: 2, (1, 0): 3, "dog, out": 4},
                "diagnostic ids": ["cdnv", "nc4_ncc"],
                "errors": "errors",
                "evaluated": {"mine": mine},
                "four": 4,
                "grid": {"l2": [0.1, 0.2]},
                "ground": "ground",
                "half": 0.5,
                "heads": [head, refit, (np.ones((2, 3)), np.zeros(2))],
                "labels": y,
                "logits": np.ones((12, 2), np.float32),
                "masks": {"first": np.arange(12) < 3},
                "groupings": [client.groupings.from_attribute(mine), client.discover(mine, method="predictions")],
                "methods": ["errors", "kmeans"],
                "named groupings": {"mine": client.groupings.from_attribute(mine)},
                "new name": "new-name",
                "no": False,
                "one": 1,
                "panels": ["fairness", "calibration"],
                "path": path,
                "ranks": (1, 2),
                "refit requests": [{"features": mine, "preset": "erm"}, {"features": mine, "l2": -1.0}],
                "file of features": places / "features.npz",
                "file of groups": str(places / "groups.npz"),
                "file to write": places / "written",
                "finetune requests": [{"balance": "none"}, {"balance": "subsetting", "by": "group"}],
                "root": client.info().root,
                "runs": [run],
                "row ids": np.arange(12)[::-1],
                "row weights": np.arange(12),
                "rows": x,
                "saved record": places / "head",
                "seconds": 20.0,
                "select on a set": {"on": mine},
                "sgd path": {"optimizer": "sgd", "learning_rate": 0.1, "epochs": 2, "batch_size": 4, "start": "stored"},
                "shown neighbours": client.neighbours(sets["val"], k=2),
                "sixteen": 16,
                "small": 1e-3,
                "some rows": [0, 1, 2, 3, 4, 5, 6, 7],
                "renamed": {"0": "1", "1": "0"},
                "split values": {"train": 0, "val": [1, 2]},
                "splits": ["val"],
                "states": ["running"],
                "table": table,
                "two": 2,
                "two seeds": [3, 4],
                "two groups": ("cat, in", 1),
                "two names": ["cat", "dog"],
                "values by row": {3: 1, 0: 0},
                "weight": np.ones((2, 3)),
                "yes": True,
                "zero number": 0,
                "[1]": [1],
                "checkpoints": [run.checkpoints[-1], merge.checkpoint],
                "shares": [0.5, 0.5],
                "merge select": {"split": "val", "metric": "loss"},
                "places": [0.0, 0.5, 1.0],
                "then": {"extract": ["val"], "refit": {"preset": "erm"}},
            }
        )
        self.values |= {f"grid of {name}": {name: [1, 2]} for name in get_args(GridName)}
        self.values |= {f"select by {name}": {"on": "half", "metric": name} for name in get_args(SelectMetric)}

    def value(self, key: str) -> Any:
        """By the name that a failing example shows; a name that is none stands for itself."""
        if key.startswith("record "):
            return self.records[key.removeprefix("record ")]
        if key in WILD:
            return WILD[key]()
        return self.values.get(key, key)

    def calls(self) -> dict[str, Callable[..., Any]]:
        """Every public call by its name."""
        client = self.client
        found: dict[str, Callable[..., Any]] = {
            name: getattr(penult, name)
            for name in ("Head", "connect", "load", "local", "plot_history", "plot_run_spectra", "plot_spectra", "soup")
        }
        collections = [
            getattr(client, name)
            for name in ("checkpoints", "datasets", "features", "groupings", "jobs", "results", "runs")
        ]
        owners = [client, *collections, *self.records.values()]
        for owner in owners:
            kind = type(owner)
            if kind.__module__.partition(".")[0] != "penult":
                continue
            for name in dir(kind):
                if not name.startswith("_") and not hasattr(list, name) and callable(getattr(kind, name)):
                    found[f"{kind.__name__}.{name}"] = getattr(owner, name)
        return {name: call for name, call in found.items() if name not in CLOSES}


@pytest.fixture(scope="module")
def client(client_alone):
    """All of it is listed, renamed and deleted."""
    return client_alone


@pytest.fixture(scope="module")
def world(client, table):
    return World(client, table)


def parameters(call: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Those that may be passed by name; ``**common`` are those of `finetune`, and other ones have no names."""
    found = dict(inspect.signature(call).parameters)
    if "common" in found:
        del found["common"]
        found |= {
            name: one.replace(default=None)
            for name, one in inspect.signature(penult.Client.finetune).parameters.items()
            if name not in ("self", "timeout")
        }
    return {name: one for name, one in found.items() if one.kind is not inspect.Parameter.VAR_KEYWORD}


def right(call: str, argument: str) -> tuple[str, ...]:
    """Names of right values of an argument. A KeyError here asks for them, of an argument that is new."""
    if call.endswith(".save"):
        return ("file to write",)
    return RIGHT.get(f"{call}.{argument}") or RIGHT[argument]


def test_every_argument_has_a_right_value(world):
    lacking = [
        f"{call}.{argument}"
        for call, function in world.calls().items()
        for argument in parameters(function)
        if argument not in RIGHT and f"{call}.{argument}" not in RIGHT
    ]
    assert not lacking, f"add right values to RIGHT for {lacking}"


@st.composite
def drawn(draw: st.DrawFn, calls: dict[str, Callable[..., Any]], pools: list[list[str]]) -> tuple[str, dict[str, str]]:
    """A call and the names of its arguments' values: right ones, and up to three of them wild."""
    name = draw(st.sampled_from(sorted(calls)))
    known = parameters(calls[name])
    if not known:
        return name, {}
    chosen = draw(st.lists(st.sampled_from(sorted(known)), max_size=3, unique=True))
    strange = draw(st.lists(st.sampled_from(sorted(known)), max_size=draw(st.sampled_from([1, 1, 3])), unique=True))
    needed = [key for key, one in known.items() if one.default is inspect.Parameter.empty]
    given = {key: draw(st.sampled_from(right(name, key))) for key in dict.fromkeys([*needed, *chosen])}
    given |= {key: draw(st.sampled_from(draw(st.sampled_from(pools)))) for key in strange}
    return name, given


def no_server(store: Any) -> None:
    raise from_kind(ErrorKind.UNREACHABLE, f"no server is started for {store}")


class Tally:
    """What came of the calls, and whether it may."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.calls = world.calls()
        self.counts: Counter[str] = Counter()

    def try_one(self, name: str, keys: dict[str, str]) -> None:
        given = {key: self.world.value(value) for key, value in keys.items()}
        if "timeout" in parameters(self.calls[name]):
            given.setdefault("timeout", 1.0 if name == "connect" else 30.0)
        if name == "FeatureSets.delete":
            self._spare(given)
        elif name.endswith(".delete") and isinstance(given.get("dry_run", False), bool):
            # Everything else is needed again.
            given["dry_run"] = True
        if name == "Client.discover_all":
            # All methods take seconds.
            given.setdefault("methods", ["errors", "kmeans"])
        if name == "Datasets.register":
            # A registration that is waited for takes seconds.
            given.setdefault("wait", False)
        started = time.monotonic()
        outcome = self._outcome(name, given)
        assert time.monotonic() - started < MOST_SECONDS, "it hangs"
        assert outcome not in FAULTS, outcome
        assert outcome != "deadline_exceeded" or "timeout" in keys, outcome
        self.counts[outcome] += 1

    def _outcome(self, name: str, given: dict[str, Any]) -> str:
        """The kind of the refusal, or that it was answered."""
        try:
            self._undo(self.calls[name](**given))
        except penult.PenultError as error:
            return error.kind
        return "answered"

    def _undo(self, answer: Any) -> None:
        """Work that was really started is ended; figures are closed, clients too."""
        if isinstance(answer, penult.Job | penult.calls.job_group.JobGroup):
            answer.cancel()
        elif isinstance(answer, penult.Client):
            answer.close()
        elif type(answer).__name__ == "Figure":
            from matplotlib import pyplot

            pyplot.close(answer)

    def _spare(self, given: dict[str, Any]) -> None:
        """The sets of the world are not deleted, only one made for it."""
        if isinstance(given["features"], records.FeatureSet | records.Features):
            features = np.full((1, 3), self.counts.total(), np.float32)
            given["features"] = self.world.client.features.upload(features, [0])


def test_every_call_answers_or_says_what_is_wrong(world, capsys, monkeypatch, tmp_path):
    """Nothing but `PenultError` leaves the client, no kind of it is a bug, and the server goes on."""
    monkeypatch.chdir(tmp_path)
    # Any text is a directory to `local`: a server for each would be all that this test does.
    monkeypatch.setattr("penult.connection.embedded._start", no_server)
    tally = Tally(world)
    pools = [list(pool) for pool in POOLS.values()] + [[f"record {name}" for name in world.records]]

    @settings(
        max_examples=N_EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(drawn(tally.calls, pools))
    def try_all(example: tuple[str, dict[str, str]]) -> None:
        tally.try_one(*example)

    try_all()
    assert world.client.info().n_feature_sets
    assert world.client.refit(world.records["set"], preset="erm").head.weight.shape == (2, 3)
    with capsys.disabled():
        print(f"\n{N_EXAMPLES} examples over {len(tally.calls)} calls: {dict(tally.counts.most_common())}")  # noqa: T201
