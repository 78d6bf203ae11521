"""Every field of a finetuning request obeys an identity, has an effect, or is refused where it has none."""

import ast
import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from finetuning_data import MemoryDataset, Recorder, squares, texts, tiny_bert
from finetuning_matrix import MATRIX, SOME_CHECKPOINT, Data, Differ, Elsewhere, Refused, Same, Values
from numpy.typing import NDArray
from transformers import BertConfig, BertForSequenceClassification

from penult import Client
from penult_proto.errors import ErrorKind
from penult_proto.v1 import runs_pb2
from penult_server.datasets.model import Attribute, SplitLabels
from penult_server.errors import ServiceError
from penult_server.finetuning.request import NESTED, complete, config_from_proto, effects_of
from penult_server.finetuning.train import FinetuneOutcome, finetune
from penult_server.stores.checkpoints import read_state

TESTS = Path(__file__).parent.parent
BASE: Values = {"dataset": "squares", "backbone": "test_vit", "pretrained": False, "epochs": 1, "batch_size": 8}
Weights = dict[str, NDArray[Any]]


def paths() -> list[str]:
    """Every field of the request, those of its messages too."""
    nested = {name: runs_pb2.FinetuneSpec.DESCRIPTOR.fields_by_name[name].message_type for name in NESTED}
    plain = [field.name for field in runs_pb2.FinetuneSpec.DESCRIPTOR.fields if field.name not in NESTED]
    return plain + [f"{name}.{field.name}" for name, message in nested.items() for field in message.fields]


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
        if all_values.get("objective.repeat_errors_of") == SOME_CHECKPOINT:
            all_values["objective.repeat_errors_of"] = self.outcome({}, "images").checkpoints[0].digest
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
    assert caught.value.metadata["field"]


@pytest.mark.parametrize("check", every(Elsewhere))
def test_what_is_tested_elsewhere_is_there(check: Elsewhere) -> None:
    assert f"def {check.test}(" in (TESTS / check.file).read_text(encoding="utf-8")


UNTRAINED = [
    path for path in paths() if any("only the starting point" in effect.goes_with for effect in effects_of(path))
]
LISTS: Values = {"evaluate": ["val"], "early_steps": [1], "objective.repeat_errors_of": "ab" * 32}


@pytest.mark.parametrize("path", [*UNTRAINED, "balance.method"])
def test_without_epochs_nothing_of_training_is_taken(runs: Runs, path: str) -> None:
    try:
        spec_of({path: 0.5})
        value: Any = 0.5
    except (TypeError, AttributeError):
        value = LISTS.get(path, 1)
    with pytest.raises(ServiceError, match="has no effect on this run: it goes with epochs of at least 1") as caught:
        runs.complete({"epochs": 0, path: 2 if path == "balance.method" else value}, "images")
    assert caught.value.metadata["field"] == {"balance.method": "balance"}.get(path, path.rsplit(".")[-1])


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


def test_the_documented_defaults_are_the_server_s() -> None:
    """The paragraph "Defaults::" of `Client.finetune`, read as a call."""
    said = inspect.getdoc(Client.finetune).split("Defaults::")[1].split("\n\n")[1]
    call = ast.parse(f"f({said})", mode="eval").body
    assert isinstance(call, ast.Call)
    documented = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    config = config_from_proto(runs_pb2.FinetuneSpec(backbone="test_vit"))
    values: Callable[[str], Any] = lambda name: getattr(  # noqa: E731
        config, {"balance": "method"}.get(name, name), getattr(config.objective, name, None)
    )
    assert documented == {name: values(name) for name in documented}
    # Of the rest nothing is the default.
    optional = set(inspect.signature(Client.finetune).parameters) - {"self", "timeout", "dataset", "backbone"}
    assert optional - set(documented) == {
        *("attribute", "weights", "ratio", "repeat_errors_of", "repeat_errors", "evaluate", "early_steps")
    }
