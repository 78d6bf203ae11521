"""Finetuning recipes: what is asked for arrives and comes back; what is plainly wrong is refused."""

import inspect
from typing import Any, get_type_hints

import pytest

from penult import Client, errors
from penult.calls.jobs import Job, JobGroup, run_result
from penult.connection.rpc import Connection
from penult.wire import decode, recipes
from penult_proto.v1 import jobs_pb2

CHOSEN: dict[str, Any] = {
    "dataset": "footwear",
    "backbone": "test_resnet",
    "attribute": "ground",
    "pretrained": False,
    "weights": "/weights/resnet.safetensors",
    "head": "new",
    "pooling": "mean",
    "balance": "mixture",
    "by": "group",
    "ratio": 2.0,
    "epochs": 3,
    "seed": 2**64 - 1,
    "optimizer": "sgd",
    "learning_rate": 0.01,
    "weight_decay": 0.5,
    "decay_all": True,
    "momentum": 0.8,
    "schedule": "linear",
    "schedule_by_epoch": True,
    "warmup": 0.25,
    "clip_norm": 1.5,
    "batch_size": 7,
    "accumulate": 3,
    "processes": 2,
    "precision": "fp16",
    "compile": True,
    "loss": "cvar_dro",
    "group_dro_rate": 0.02,
    "group_dro_adjustment": 2.0,
    "cvar_fraction": 0.3,
    "label_smoothing": 0.1,
    "mixup": 0.2,
    "sam": 0.05,
    "repeat_errors_of": "ab" * 32,
    "repeat_errors": 20,
    "flip": False,
    "crop_scale": 0.7,
    "image_size": 48,
    "image_resize": 56,
    "max_tokens": 16,
    "pad_to_max": True,
    "evaluate": ("val", "test"),
    "evaluate_every": 0.25,
    "checkpoint_every": 2.0,
    "early_steps": (1, 10),
    "save_every": 50,
}
LEAST: dict[str, Any] = {"dataset": "footwear", "backbone": "test_resnet"}


def test_a_spec_survives_the_round_trip() -> None:
    spec = decode.finetune_spec(recipes.finetune_spec(CHOSEN))  # pyright: ignore[reportArgumentType]
    assert spec.arguments() == CHOSEN
    again = decode.finetune_spec(recipes.finetune_spec(spec.arguments()))  # pyright: ignore[reportArgumentType]
    assert again == spec


def test_what_is_left_out_is_not_sent() -> None:
    left_out = dict.fromkeys(set(CHOSEN) - set(LEAST))
    for asked in (LEAST, LEAST | left_out):
        spec = recipes.finetune_spec(asked)  # pyright: ignore[reportArgumentType]
        assert {field.name for field, _ in spec.ListFields()} == {"dataset", "backbone"}
    assert decode.finetune_spec(spec).arguments() == LEAST | {"attribute": "", "balance": "none"}


def test_zero_is_not_left_out() -> None:
    nothing = {"weight_decay": 0.0, "mixup": 0.0, "seed": 0, "flip": False, "group_dro_rate": 0.0, "image_size": 0}
    spec = decode.finetune_spec(recipes.finetune_spec(LEAST | nothing))  # pyright: ignore[reportArgumentType]
    assert spec.arguments() == LEAST | nothing | {"attribute": "", "balance": "none"}
    own = recipes.finetune_spec(LEAST | {"balance": "mixture", "ratio": "dataset"})  # pyright: ignore[reportArgumentType]
    assert own.balance.HasField("ratio")
    assert own.balance.ratio == 0
    assert decode.finetune_spec(own).ratio == "dataset"


def test_signature_and_dictionary_are_one() -> None:
    parameters = dict(inspect.signature(Client.finetune).parameters)
    for name in ("self", "timeout"):
        parameters.pop(name)
    assert list(parameters) == list(recipes.FinetuneArguments.__annotations__)
    defaults = {name: one.default for name, one in parameters.items() if one.default is not inspect.Parameter.empty}
    assert defaults == dict.fromkeys(list(parameters)[2:])
    signature = get_type_hints(Client.finetune)
    assert {name: signature[name] for name in parameters} == get_type_hints(recipes.FinetuneArguments)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"optimizer": "adam"}, "'adamw', 'sgd'"),
        ({"precision": "tf32"}, "'bf16'"),
        ({"pooling": "max"}, "'mean'"),
        ({"loss": "jtt"}, "'group_dro'"),
        ({"balance": "mixture", "ratio": 0.5}, "ratio must be at least 1"),
        ({"balance": "mixture", "ratio": "own"}, "'dataset'"),
        ({"evaluate": "val"}, "list of names"),
        ({"evaluate": []}, "a split at least"),
        ({"by": "groups"}, "'group'"),
        ({"mixup": float("nan")}, "mixup"),
        ({"seed": -1}, "seed"),
        ({"epoch": 3}, "got dataset, backbone, epoch"),
    ],
)
def test_wrong_recipes_are_refused_before_any_call(change: dict[str, Any], said: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=said):
        recipes.finetune_spec(LEAST | change)  # pyright: ignore[reportArgumentType]


def test_a_sweep_runs_every_request_with_every_seed() -> None:
    both = recipes.swept([{"epochs": 1}, {"epochs": 2}], range(2))
    assert both == [
        {"epochs": 1, "seed": 0},
        {"epochs": 1, "seed": 1},
        {"epochs": 2, "seed": 0},
        {"epochs": 2, "seed": 1},
    ]
    assert recipes.swept([{"seed": 7}], None) == [{"seed": 7}]
    for requests, seeds in (([], None), ([{}], []), ([{"seed": 1}], [2])):
        with pytest.raises(errors.InvalidRequest):
            recipes.swept(requests, seeds)  # pyright: ignore[reportArgumentType]


def test_a_group_of_jobs_is_a_sequence() -> None:
    connection = Connection("localhost:1")
    jobs = [
        Job(connection, jobs_pb2.Job(id=name, state=jobs_pb2.JOB_STATE_SUCCEEDED), run_result) for name in ("a", "b")
    ]
    group = JobGroup(jobs)
    assert (len(group), [job.id for job in group], group[1].id) == (2, ["a", "b"], "b")
    assert repr(group) == "JobGroup(a succeeded, b succeeded)"
