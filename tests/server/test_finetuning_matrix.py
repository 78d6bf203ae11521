"""Every field of a finetuning request obeys an identity, has an effect, or is refused where it has none."""

import inspect
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from finetuning_data import MemoryDataset, Recorder, grouping_of, squares, texts, tiny_bert
from finetuning_matrix import (
    DRO,
    MATRIX,
    SGD,
    SOME_CHECKPOINT,
    SOME_GROUPING,
    UPSAMPLING,
    Data,
    Differ,
    Elsewhere,
    Refused,
    Same,
    Values,
)
from numpy.typing import NDArray
from transformers import BertConfig, BertForSequenceClassification

import penult
from penult import Client
from penult.wire import decode, recipes
from penult_proto.errors import ErrorKind
from penult_proto.fields.finetune import GROUPS, PLACES
from penult_proto.v1 import runs_pb2
from penult_server.datasets.model import Attribute, SplitLabels
from penult_server.errors import ServiceError
from penult_server.finetuning.request import complete, config_from_proto, effects_of
from penult_server.finetuning.train import FinetuneOutcome, finetune
from penult_server.stores.checkpoints import read_state

TESTS = Path(__file__).parent.parent
BASE: Values = {"dataset": "squares", "backbone": "test_vit", "pretrained": False, "epochs": 1, "batch_size": 8}
Weights = dict[str, NDArray[Any]]


def paths() -> list[str]:
    """Every field of the request, those of its messages too."""
    return list(PLACES)


def spec_of(values: Values) -> runs_pb2.FinetuneSpec:
    """A request of the values that are not None."""
    spec = runs_pb2.FinetuneSpec()
    for path, value in values.items():
        *outer, name = path.split(".")
        message = getattr(spec, outer[0]) if outer else spec
        if isinstance(value, list):
            getattr(message, name).extend(value)
        elif value is not None:
            setattr(message, name, value)
    return spec


def turned(dataset: MemoryDataset) -> MemoryDataset:
    """With a second attribute, whose groups are others than the first's."""
    splits = {
        name: SplitLabels(
            row_id=one.row_id, y=one.y, a=np.column_stack([one.a[:, 0], (np.arange(len(one.y)) % 3 == 0).astype(int)])
        )
        for name, one in dataset.info.splits.items()
    }
    attributes = (*dataset.info.attributes, Attribute(name="turn", values=("no", "yes")))
    return MemoryDataset(replace(dataset.info, splits=splits, attributes=attributes), dataset.images)


def pretrained_bert(path: Path) -> str:
    """A directory of a tiny BERT without dropout, with weights and a head for the texts' classes."""
    tiny_bert(path, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    torch.manual_seed(0)
    config = BertConfig.from_pretrained(path, id2label={0: "bad", 1: "good"}, label2id={"bad": 0, "good": 1})
    BertForSequenceClassification(config).save_pretrained(path)
    return str(path)


class Runs:
    """Runs of requests, each made once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._datasets: dict[Data, MemoryDataset] = {
            "images": turned(squares()),
            "one group": squares({"train": [24, 0, 0, 0], "val": [4, 0, 0, 0]}),
            "texts": texts(),
        }
        self._bert = pretrained_bert(root / "bert")
        self._made: dict[str, FinetuneOutcome] = {}

    def spec(self, values: Values, data: Data) -> runs_pb2.FinetuneSpec:
        kind = {"backbone": self._bert, "max_tokens": 16} if data == "texts" else {}
        all_values = BASE | kind | {"evaluate": ["val"]} | values
        if all_values.get("epochs") == 0:
            all_values = {name: value for name, value in all_values.items() if name not in ("batch_size", "evaluate")}
            all_values |= {name: value for name, value in values.items() if name in ("batch_size", "evaluate")}
        for name, value in all_values.items():
            if value == SOME_CHECKPOINT:
                all_values[name] = self.outcome({}, "images").checkpoints[0].digest
            elif value == SOME_GROUPING:
                all_values[name] = grouping_of(self._root, self._datasets["images"], "turn")
        return spec_of(all_values)

    def complete(self, values: Values, data: Data) -> runs_pb2.FinetuneSpec:
        spec = self.spec(values, data)
        complete(spec, self._datasets[data].info.modality)
        return spec

    def outcome(self, values: Values, data: Data) -> FinetuneOutcome:
        spec = self.spec(values, data)
        config = complete(spec, self._datasets[data].info.modality)
        key = f"{data} {self.spec(values, data)}"
        if key not in self._made:
            self._made[key] = finetune(
                config,
                self._datasets[data],
                root=self._root,
                device=torch.device("cpu"),
                context=Recorder(),
                run_id=f"run-{len(self._made)}",
            )
        return self._made[key]

    def weights(self, values: Values, data: Data, checkpoint: int = -1) -> Weights:
        return dict(read_state(self._root, self.outcome(values, data).checkpoints[checkpoint]))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("matrix"))


def every(kind: type) -> list[Any]:
    rows = [(path, check) for path, checks in MATRIX.items() for check in checks if isinstance(check, kind)]
    return [pytest.param(check, id=f"{path}-{i}") for i, (path, check) in enumerate(rows)]


def test_every_field_has_a_row() -> None:
    assert sorted(MATRIX) == sorted(paths()), "give a new field of the request its row in MATRIX"
    for path, checks in MATRIX.items():
        assert any(not isinstance(check, Refused) for check in checks), path
        # Of every field that is refused anywhere but without epochs, the matrix says where.
        if any("epochs" not in effect.goes_with for effect in effects_of(path)):
            assert any(isinstance(check, Refused) for check in checks), path


def distance(one: Weights, other: Weights) -> float:
    return float(np.sqrt(sum(((one[name].astype(float) - other[name]) ** 2).sum() for name in one)))


@pytest.mark.parametrize("check", every(Same))
def test_identity(runs: Runs, check: Same) -> None:
    one, other = runs.weights(check.one, check.data), runs.weights(check.other, check.data)
    if check.exact:
        assert all(np.array_equal(one[name], other[name]) for name in one)
    else:
        learnt = distance(runs.weights(check.one, check.data, 0), one)
        assert distance(one, other) < 1e-3 * learnt


@pytest.mark.parametrize("check", every(Differ))
def test_has_an_effect(runs: Runs, check: Differ) -> None:
    one, other = runs.weights(check.one, check.data), runs.weights(check.other, check.data)
    assert set(one) != set(other) or not all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("check", every(Refused))
def test_refused(runs: Runs, check: Refused) -> None:
    with pytest.raises(ServiceError, match=check.says) as caught:
        runs.complete(check.of, check.data)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert caught.value.metadata["field"] in paths()
    assert caught.value.metadata["argument"] in caught.value.message


@pytest.mark.parametrize("check", every(Elsewhere))
def test_what_is_tested_elsewhere_is_there(check: Elsewhere) -> None:
    assert f"def {check.test}(" in (TESTS / check.file).read_text(encoding="utf-8")


UNTRAINED = [
    path for path in paths() if any("only the starting point" in effect.goes_with for effect in effects_of(path))
]
LISTS: Values = {
    "evaluate": ["val"],
    "early_steps": [1],
    "keep": "last",
    "objective.repeat_errors_of": "ab" * 32,
    "grouping": "ab" * 32,
}


@pytest.mark.parametrize("path", [*UNTRAINED, "balance.method"])
def test_without_epochs_nothing_of_training_is_taken(runs: Runs, path: str) -> None:
    try:
        spec_of({path: 0.5})
        value: Any = 0.5
    except (TypeError, AttributeError):
        value = LISTS.get(path, 1)
    with pytest.raises(ServiceError, match="has no effect on this run: it goes with epochs of at least 1") as caught:
        runs.complete({"epochs": 0, path: 2 if path == "balance.method" else value}, "images")
    assert caught.value.metadata["field"] == path


def test_without_epochs_the_start_of_a_run_is_left(runs: Runs) -> None:
    alone, trained = runs.weights({"epochs": 0}, "images"), runs.weights({}, "images", 0)
    assert all(np.array_equal(alone[name], trained[name]) for name in trained)


def completed_specs() -> list[Any]:
    rows = [(path, check) for path, checks in MATRIX.items() for check in checks if isinstance(check, Same | Differ)]
    return [pytest.param(check, id=f"{path}-{i}") for i, (path, check) in enumerate(rows)]


@pytest.mark.parametrize("check", completed_specs())
def test_what_a_run_says_it_used_asks_for_it_again(runs: Runs, check: Same | Differ) -> None:
    for values in (check.one, check.other):
        spec = runs.complete(values, check.data)
        again = runs_pb2.FinetuneSpec.FromString(spec.SerializeToString())
        complete(again, "text" if check.data == "texts" else "image")
        assert again == spec
        assert config_from_proto(spec) == config_from_proto(runs.spec(values, check.data))


def written_defaults(said: str) -> dict[str, Any]:
    """The arguments of a call, such as those that a docstring gives."""
    classes = {name: getattr(penult, name) for kinds in GROUPS.values() for name in kinds}
    return eval(f"dict({said})", classes)


def test_the_documented_defaults_are_the_server_s(runs: Runs) -> None:
    """The paragraph of `Client.finetune` and the line "Defaults:" of every class of options, read as calls."""
    said = inspect.getdoc(Client.finetune).split("the others are::")[1].split("\n\n")[1]
    plain = written_defaults(said)
    left_out: Values = {"epochs": None, "batch_size": None}
    found: dict[str, Any] = {}
    for balance in (UPSAMPLING, UPSAMPLING | {"balance.by": None}):
        spec = decode.finetune_spec(runs.complete(left_out | balance, "images"))
        found |= {name: getattr(spec, name) for name in plain if getattr(spec, name) is not None}
    kinds = {name: type(found[name])() for name in ("optimizer", "loss")}
    assert plain == found | kinds | {"balance": "none", "pretrained": True, "head": "keep"}
    # Of the rest nothing is the default.
    optional = set(inspect.signature(Client.finetune).parameters) - {"self", "timeout", "dataset", "backbone"}
    without = {"recipe", "start", "attribute", "weights", "ratio", "group_ratio", "evaluate", "name", "tags", "note"}
    assert optional - set(plain) - set(GROUPS) == without


@pytest.mark.parametrize("name", [name for argument, kinds in GROUPS.items() for name in kinds if argument != "repeat"])
def test_the_documented_defaults_of_options_are_the_server_s(runs: Runs, name: str) -> None:
    kind = getattr(penult, name)
    (said,) = re.findall(r"^Defaults: (\w+)\((.*)\)$", inspect.getdoc(kind) or "", re.MULTILINE)
    assert said[0] == name
    argument = next(argument for argument, kinds in GROUPS.items() if name in kinds)
    data: Data = "texts" if name == "Texts" else "images"
    spec = recipes.finetune_spec({"dataset": "x", "backbone": "test_vit", argument: kind()})
    spec.backbone = runs.spec({}, data).backbone
    complete(spec, "text" if name == "Texts" else "image")
    documented = eval(f"{name}({said[1]})", {name: kind})
    assert documented == getattr(decode.finetune_spec(spec), argument)


@pytest.mark.parametrize("check", completed_specs())
def test_what_a_run_says_it_used_is_the_same_when_python_asks_for_it(runs: Runs, check: Same | Differ) -> None:
    """``client.finetune(**run.spec.arguments())`` is the same job: it sends the request that was kept."""
    for values in (check.one, check.other):
        spec = runs.complete(values, check.data)
        spec.attribute = spec.attribute or "hue"
        again = recipes.finetune_spec(decode.finetune_spec(spec).arguments())
        if spec.HasField("start"):
            # A digest alone may be that of a checkpoint or of a refit: the front finds out which.
            assert again.start.checkpoint == again.start.refit == spec.start.checkpoint
            again.start.CopyFrom(spec.start)
        assert again == spec


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"learning_rate": 0.0}, "optimizer=AdamW(learning_rate=...) must be finite and greater than 0; got 0.0"),
        (SGD | {"learning_rate": -1.0}, "optimizer=SGD(learning_rate=...) must be"),
        (SGD | {"objective.sam": -1.0}, "optimizer=SGD(sam=...) must be"),
        (DRO | {"objective.label_smoothing": 1.0}, "loss=GroupDRO(label_smoothing=...) must be"),
        ({"objective.label_smoothing": 1.0}, "loss=CrossEntropy(label_smoothing=...) must be"),
        ({"epochs": -1}, "epochs must be in 0 .. 10000; got -1"),
        ({"image_size": 48, "image_resize": 40}, "inputs=Images(resize=...) must be 0 or at least their size, which"),
        ({"precision": 99}, "compute=Compute(precision=...) must be one of the numbers"),
    ],
)
def test_a_refusal_names_the_argument_as_it_is_written(runs: Runs, values: Values, said: str) -> None:
    with pytest.raises(ServiceError) as caught:
        runs.complete(values, "images")
    assert caught.value.message.startswith(said)
    assert caught.value.metadata["field"] in values
    assert caught.value.message.startswith(caught.value.metadata["argument"])
