"""Finetuning recipes as the server resolves them, against the numbers of the papers and of their authors' files."""

from typing import Any

import pytest

import penult
from penult.calls.methods.recipes import recipes
from penult.wire import decode
from penult.wire.recipes import finetune_spec
from penult_proto.errors import ErrorKind
from penult_proto.recipes import RECIPES
from penult_proto.v1 import runs_pb2
from penult_server.errors import ServiceError
from penult_server.finetuning.request import complete, expand

ADAMW = penult.AdamW(learning_rate=1e-5, weight_decay=1e-4, decay_all=False, clip_norm=0.0, sam=0.0)
SGD = {"momentum": 0.9, "decay_all": True, "clip_norm": 0.0, "sam": 0.0}
FP32 = penult.Compute(precision="fp32", compile=False, accumulate=1, processes=1)
EVERY_EPOCH = penult.Record(evaluate_every=1.0, checkpoint_every=1.0, keep="all", save_every=0)
EVERY_2 = penult.Record(evaluate_every=2.0, checkpoint_every=2.0, keep="all", save_every=0)
EVERY_10 = penult.Record(evaluate_every=10.0, checkpoint_every=10.0, keep="all", save_every=0)
# Every field of the resolved run that is the same for all of a paper's recipes.
LABONTE: dict[str, Any] = {
    "balance": "none",
    "batch_size": 32,
    "loss": penult.CrossEntropy(label_smoothing=0.0),
    "compute": FP32,
    "seed": 0,
    "pretrained": True,
}
LABONTE_IMAGES = LABONTE | {
    "backbone": "facebook/convnextv2-base-1k-224",
    "optimizer": penult.AdamW(learning_rate=1e-5, weight_decay=1e-4, decay_all=True, clip_norm=0.0, sam=0.0),
    "schedule": penult.Schedule("cosine", warmup=0.0, by_epoch=True),
    "augment": penult.Augment(flip=True, crop_scale=0.7, mixup=0.0),
    "inputs": penult.Images(size=224, resize=256),
}
LABONTE_TEXTS = LABONTE | {
    "backbone": "bert-base-uncased",
    "epochs": 20,
    "optimizer": ADAMW,
    "schedule": penult.Schedule("linear", warmup=0.0, by_epoch=True),
    "record": EVERY_2,
}
RESNET: dict[str, Any] = {
    "backbone": "resnet50.tv_in1k",
    "schedule": penult.Schedule("constant", warmup=0.0),
    "augment": penult.Augment(flip=False, crop_scale=0.0, mixup=0.0),
    "record": EVERY_EPOCH,
    "compute": FP32,
    "seed": 0,
    "pretrained": True,
}
DRO: dict[str, Any] = {
    "balance": "upsampling",
    "by": "group",
    "missing_groups": "refuse",
    "loss": penult.GroupDRO(rate=0.01, adjustment=0.0, label_smoothing=0.0),
}
ERM: dict[str, Any] = {"balance": "none", "loss": penult.CrossEntropy(label_smoothing=0.0)}
TABLE: dict[str, dict[str, Any]] = {
    "labonte2024-waterbirds": LABONTE_IMAGES | {"dataset": "waterbirds", "epochs": 100, "record": EVERY_10},
    "labonte2024-celeba": LABONTE_IMAGES | {"dataset": "celeba", "epochs": 20, "record": EVERY_2},
    "labonte2024-civilcomments": LABONTE_TEXTS
    | {"dataset": "civilcomments", "inputs": penult.Texts(max_tokens=220, pad_to_max=False, pooling="model")},
    "labonte2024-multinli": LABONTE_TEXTS
    | {"dataset": "multinli", "inputs": penult.Texts(max_tokens=128, pad_to_max=False, pooling="model")},
    "sagawa2020-waterbirds": RESNET
    | DRO
    | {
        "dataset": "waterbirds",
        "epochs": 300,
        "batch_size": 128,
        "optimizer": penult.SGD(learning_rate=1e-3, weight_decay=1e-4, **SGD),
        "inputs": penult.Images(size=224, resize=256),
    },
    "sagawa2020-celeba": RESNET
    | DRO
    | {
        "dataset": "celeba",
        "epochs": 50,
        "batch_size": 128,
        "optimizer": penult.SGD(learning_rate=1e-4, weight_decay=1e-4, **SGD),
        "inputs": penult.Images(size=224, resize=224),
    },
    "sagawa2020-multinli": DRO
    | {
        "dataset": "multinli",
        "backbone": "bert-base-uncased",
        "epochs": 3,
        "batch_size": 32,
        "optimizer": penult.AdamW(learning_rate=2e-5, weight_decay=0.0, decay_all=False, clip_norm=1.0, sam=0.0),
        "schedule": penult.Schedule("linear", warmup=0.0, by_epoch=False),
        "inputs": penult.Texts(max_tokens=128, pad_to_max=False, pooling="model"),
        "record": EVERY_EPOCH,
        "compute": FP32,
        "seed": 0,
        "pretrained": True,
    },
    "liu2021-waterbirds": RESNET
    | ERM
    | {
        "dataset": "waterbirds",
        "epochs": 300,
        "batch_size": 64,
        "optimizer": penult.SGD(learning_rate=1e-5, weight_decay=1.0, **SGD),
        "inputs": penult.Images(size=224, resize=256),
    },
    "liu2021-celeba": RESNET
    | ERM
    | {
        "dataset": "celeba",
        "epochs": 50,
        "batch_size": 64,
        "optimizer": penult.SGD(learning_rate=1e-5, weight_decay=0.1, **SGD),
        "inputs": penult.Images(size=224, resize=224),
    },
}


def resolved(**arguments: Any) -> runs_pb2.FinetuneSpec:
    """What the server makes of a request."""
    spec = finetune_spec(arguments)
    added = expand(spec)
    complete(spec, "text" if spec.dataset in ("civilcomments", "multinli") else "image", added)
    return spec


def used(**arguments: Any) -> dict[str, Any]:
    """The arguments of the run that is asked for; the attribute is left to the dataset."""
    spec = decode.finetune_spec(resolved(**arguments))
    return {name: value for name, value in spec.arguments().items() if value != ""}


def test_every_recipe_has_its_table() -> None:
    assert list(TABLE) == list(RECIPES)


@pytest.mark.parametrize("name", list(TABLE))
def test_a_recipe_is_its_table(name: str) -> None:
    assert used(recipe=name) == TABLE[name]


@pytest.mark.parametrize("name", list(TABLE))
def test_asked_for_by_its_arguments_a_recipe_is_the_same_run(name: str) -> None:
    assert resolved(**recipes()[name].sets) == resolved(recipe=name)
    assert resolved(**TABLE[name]) == resolved(recipe=name)


def test_what_a_request_says_itself_takes_precedence() -> None:
    name = "labonte2024-waterbirds"
    asked = {"dataset": "mine", "balance": "mixture", "ratio": 2.0, "seed": 3}
    own = used(recipe=name, **asked, optimizer=penult.AdamW(weight_decay=0.0))
    optimizer = penult.AdamW(learning_rate=1e-5, weight_decay=0.0, decay_all=True, clip_norm=0.0, sam=0.0)
    assert own == TABLE[name] | asked | {"by": "class", "optimizer": optimizer}


def test_what_of_a_recipe_then_has_no_effect_is_left_out() -> None:
    name = "sagawa2020-waterbirds"
    plain = used(recipe=name, balance="none", loss=penult.CrossEntropy(), optimizer=penult.AdamW())
    adamw = penult.AdamW(learning_rate=1e-3, weight_decay=1e-4, decay_all=True, clip_norm=0.0, sam=0.0)
    expected = TABLE[name] | ERM | {"optimizer": adamw}
    assert plain == {name: value for name, value in expected.items() if name not in ("by", "missing_groups")}
    images = used(recipe="labonte2024-multinli", dataset="footwear", backbone="test_vit", epochs=1)
    assert images["inputs"] == penult.Images(size=0, resize=0)


def test_of_a_recipe_without_epochs_the_start_is_left() -> None:
    untrained = used(recipe="sagawa2020-multinli", epochs=0)
    assert set(untrained) == {"dataset", "backbone", "balance", "epochs", "seed", "pretrained", "inputs"}
    again = resolved(recipe="sagawa2020-multinli", epochs=0)
    assert not again.HasField("objective")
    asked = {name: value for name, value in untrained.items() if name != "balance"}
    assert resolved(**asked) == again


def test_what_a_request_says_itself_without_an_effect_is_refused_all_the_same() -> None:
    with pytest.raises(ServiceError, match=r"inputs=Texts\(max_tokens=...\) has no effect"):
        resolved(recipe="labonte2024-waterbirds", inputs=penult.Texts(max_tokens=9))
    with pytest.raises(ServiceError, match="by has no effect"):
        resolved(recipe="labonte2024-waterbirds", by="group")


def test_an_unknown_recipe_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ServiceError, match="there is no recipe 'erm'; known: labonte2024-waterbirds") as caught:
        expand(runs_pb2.FinetuneSpec(recipe="erm"))
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
