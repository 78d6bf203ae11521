"""Groupings in every verb of the client: one of an attribute gives, to the last bit, what stored groups give."""

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import penult
from penult.cli.main import main
from penult_proto.v1 import spectra_pb2

TINY: dict[str, Any] = {
    "backbone": "test_resnet",
    "pretrained": False,
    "inputs": penult.Images(size=32),
    "epochs": 1,
    "batch_size": 8,
    "seed": 3,
    "loss": penult.GroupDRO(),
}
ABOUT = {
    "digest",
    "grouping",
    "select_grouping",
    "notes",
    "created",
    "settings",
    "by",
    "reused",
    "feature_set",
    "feature_sets",
    "checkpoint",
}
"""What names a question or an answer; everything else of two answers must be equal."""


def table(directory: Path) -> str:
    """Images of two classes in two places, under two lights."""
    rng = np.random.default_rng(0)
    lines = ["split,y,path,place,light"]
    for split, copies in (("train", (6, 2)), ("val", (4, 3))):
        for animal in ("cat", "dog"):
            for place in ("city", "forest"):
                for light in ("dim", "bright"):
                    rare = (animal, place) == ("cat", "forest") or light == "dim"
                    for copy in range(copies[rare]):
                        file = f"{split}-{animal}-{place}-{light}-{copy}.png"
                        Image.fromarray(rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)).save(directory / file)
                        lines.append(f"{split},{animal},{file},{place},{light}")
    path = directory / "animals.csv"
    path.write_text("\n".join(lines))
    return str(path)


class World:
    """A run, the features of its checkpoints by both attributes, and groupings of them."""

    def __init__(self, client: penult.Client, directory: Path) -> None:
        client.datasets.register("animals", table(directory))
        self.client = client
        self.run = client.finetune(dataset="animals", **TINY).wait()
        first, last = self.run.checkpoints
        jobs = [client.extract(first, splits=["val"]), client.extract(last)]
        self.early, self.sets = (job.wait() for job in jobs)
        val = client.features.read(self.sets["val"])
        # The same features, stored with the other attribute as their own.
        self.by_light = client.features.upload(
            val.features,
            val.y,
            val.attributes[:, 1],
            row_id=val.row_id,
            classes=["cat", "dog"],
            attribute="light",
            attribute_values=val.feature_set.attributes[1].values,
        )
        self.place = client.groupings.from_attribute(self.sets["val"], name="places")
        self.light = client.groupings.from_attribute(self.sets["val"], "light")


@pytest.fixture(scope="module")
def world(client: penult.Client, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(client, tmp_path_factory.mktemp("animals"))


def same(one: Any, other: Any) -> None:
    """Fail unless two answers are equal in all but what names them."""
    assert type(one) is type(other)
    if is_dataclass(one):
        for name in (field.name for field in fields(one) if field.name not in ABOUT):
            same(getattr(one, name), getattr(other, name))
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key, value in one.items():
            same(value, other[key])
    elif isinstance(one, tuple | list):
        for value, theirs in zip(one, other, strict=True):
            same(value, theirs)
    else:
        np.testing.assert_array_equal(one, other)


VERBS: dict[str, Callable[[World, Any, Any], Any]] = {
    "spectra": lambda world, features, by: world.client.spectra(features, by=by, replicates=10),
    "spectra about zero": lambda world, features, by: world.client.spectra(features, by=by, center=False, top_k=3),
    "descriptors": lambda world, features, by: world.client.descriptors(features, by=by, power_law=(1, 3)),
    "eigenvectors": lambda world, features, by: world.client.eigenvectors(features, by=by, top_k=2),
    "principal_angles": lambda world, features, by: world.client.principal_angles(
        features, features, groups=(0, 3), by=by, top_k=2
    ),
    "refit": lambda world, features, by: world.client.refit(
        features, balance="subsetting", by=by, l2=0.1, repeats=2, plan=True
    ),
    "refit by risk": lambda world, features, by: world.client.refit(
        features, risk="group_dro", l2=0.1, tolerance=0.01, **({} if by == "group" else {"by": by})
    ),
    "selection": lambda world, features, by: world.client.refit(
        features,
        grid={"l2": [0.01, 0.1, 1.0]},
        select={"on": features} | ({} if by == "group" else {"groups": by}),
    ),
    "evaluate": lambda world, features, by: world.client.evaluate(world.run.checkpoints[-1], features, by=by),
    "interpolate": lambda world, features, by: world.client.interpolate(
        world.run.checkpoints[-1], penult.Head(np.ones((2, features.n_features)), np.zeros(2)), features, by=by, steps=3
    ),
}


@pytest.mark.parametrize("verb", VERBS)
def test_an_attribute_s_grouping_is_its_stored_groups(world: World, verb: str) -> None:
    """Of the own attribute; and of another, against features that were stored with that as their own."""
    ask = VERBS[verb]
    same(ask(world, world.sets["val"], world.place), ask(world, world.sets["val"], "group"))
    same(ask(world, world.sets["val"], world.light), ask(world, world.by_light, "group"))


def test_run_spectra_and_other_checkpoints(world: World) -> None:
    """A grouping of one checkpoint's features serves those of every other."""
    client = world.client
    found = client.run_spectra(world.run, split="val", by="places", replicates=0)
    same(found, client.run_spectra(world.run, split="val", replicates=0))
    assert found.by == "place"
    assert found.grouping == penult.UsedGrouping(digest=world.place.digest, attribute="place", n_left_out=0)
    same(VERBS["spectra"](world, world.early["val"], world.place), VERBS["spectra"](world, world.early["val"], "group"))


def test_a_finetuning_by_a_grouping_leaves_the_same_checkpoints(world: World) -> None:
    """Metrics are of the stored groups."""
    client = world.client
    grouping = client.groupings.from_attribute(world.sets["train"], name="train-places")
    run, expected = client.finetune(dataset="animals", by=grouping, **TINY).wait(), world.run
    assert run.id != expected.id
    assert [one.digest for one in run.checkpoints] == [one.digest for one in expected.checkpoints]
    same(run.history, expected.history)
    assert (run.spec.by, expected.spec.by) == (grouping.digest, None)
    assert [note.id for note in run.notes] == ["groups_used"]
    assert client.finetune(dataset="animals", by="train-places", **TINY).id == run.id


def test_answers_say_what_they_are_by(world: World) -> None:
    client, val = world.client, world.sets["val"]
    some = {int(row): int(value) for row, value in zip(world.light.row_id[4:], world.light.values[4:], strict=True)}
    part = client.groupings.upload(val, some, names=["low", "high"], attribute="brightness", name="some")
    spectra = client.spectra(val, by="some", replicates=0)
    assert (spectra.by, spectra.grouping.n_left_out, spectra.n_rows) == ("brightness", 4, val.n_examples - 4)
    assert "by brightness" in repr(spectra)
    assert spectra.groups[1].name == "cat, high"
    assert "4 of" in spectra.notes[0]
    assert spectra.digest != client.spectra(val, replicates=0).digest
    metrics = client.evaluate(world.run.checkpoints[-1], val, by=part)
    assert metrics.grouping.digest == part.digest
    assert sum(group.count for group in metrics.groups) == val.n_examples - 4
    refit = client.refit(val, preset="dfr_l2", by=part, select=None, evaluate={"val": val})
    assert (refit.settings.by, refit.grouping.attribute, refit.select_grouping) == (part.digest, "brightness", None)
    assert "metrics are of the stored groups" in refit.notes[0]
    assert refit.metrics["val"].groups[0].attribute_value == "city"
    again = client.refit(val, preset="dfr_l2", by="some", evaluate={"val": val})
    assert again.reused
    assert again.digest == refit.digest


REFUSED: dict[str, tuple[Callable[[World], Any], str, str]] = {
    "other split": (
        lambda world: world.client.spectra(world.sets["train"], by=world.place),
        "other_rows",
        r"grouping\.on\(features\)",
    ),
    "other split to fit": (
        lambda world: world.client.refit(world.sets["train"], preset="dfr_l2", by="places"),
        "other_rows",
        "is of split 'val' of dataset 'animals'",
    ),
    "other split to score": (
        lambda world: world.client.evaluate(world.run.checkpoints[-1], world.sets["train"], by="places"),
        "other_rows",
        "is of split 'train' of dataset 'animals'",
    ),
    "other split to train on": (
        lambda world: world.client.finetune(dataset="animals", balance="upsampling", by=world.place, **TINY),
        "other_rows",
        "a finetuning needs one of split 'train'",
    ),
    "no grouping": (
        lambda world: world.client.spectra(world.sets["val"], by="nothing"),
        "unknown_grouping",
        "by= is 'group', 'class' or a grouping: there is no grouping",
    ),
    "classes of a grouping": (
        lambda world: world.client.connection.unary(
            world.client.connection.stubs.spectra.ComputeSpectra,
            spectra_pb2.ComputeSpectraRequest(
                by=spectra_pb2.SPECTRA_BY_CLASS,
                source=spectra_pb2.FeatureSource(feature_set=world.sets["val"].digest, grouping="places"),
            ),
            timeout=30,
        ),
        "invalid_argument",
        "a grouping makes groups",
    ),
    "balanced by class": (
        lambda world: world.client.refit(world.sets["val"], l2=0.1, preset="class_balanced", by="places"),
        "invalid_argument",
        "by=a grouping has no effect on this refit",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_is_refused_early(world: World, what: str) -> None:
    ask, kind, says = REFUSED[what]
    with pytest.raises((penult.InvalidRequest, penult.NotFound), match=says) as caught:
        ask(world)
    assert caught.value.kind == kind


def test_the_command_line_takes_groupings(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    client, val = world.client, world.sets["val"].digest
    token = (Path(client.info().root) / "token").read_text().strip()
    at = ["--json", "--address", client.connection.address, "--token", token]
    assert main(["spectra", val, "--by", "places", "--replicates", "0", *at]) == 0
    assert json.loads(capsys.readouterr().out)["grouping"]["digest"] == world.place.digest
    assert main(["evaluate", world.run.checkpoints[-1].digest, val, "--by", "places", *at]) == 0
    assert world.place.digest in capsys.readouterr().out
    assert main(["refit", val, "--preset", "dfr", "--by", "places", "--select-groups", "places", *at]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["grouping"] == said["select_grouping"]
