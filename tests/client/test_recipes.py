"""Finetuning recipes: what is asked for arrives and comes back; what is plainly wrong is refused."""

# Some values are of a type that no caller should pass.
# pyright: reportArgumentType=false

import inspect
from dataclasses import fields
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest

import penult
from penult import Client, errors
from penult.calls.job import Job, run_result
from penult.calls.job_group import JobGroup
from penult.calls.methods.recipes import recipes as listed_recipes
from penult.connection.rpc import Connection
from penult.options import (
    SGD,
    AdamW,
    Augment,
    Compute,
    CrossEntropy,
    CVaRDRO,
    GroupDRO,
    Images,
    Record,
    RepeatErrors,
    Schedule,
    Texts,
)
from penult.types import RecipeName
from penult.wire import decode, recipes
from penult_proto.fields.finetune import GROUPS, PLACES, fields_of
from penult_proto.recipes import RECIPES
from penult_proto.v1 import groups_pb2, jobs_pb2, runs_pb2

CHOSEN: dict[str, Any] = {
    "dataset": "footwear",
    "backbone": "test_resnet",
    "start": "cd" * 32,
    "attribute": "ground",
    "pretrained": False,
    "weights": "/weights/resnet.safetensors",
    "head": "new",
    "balance": "mixture",
    "by": "group",
    "ratio": 2.0,
    "group_ratio": 0.5,
    "epochs": 3,
    "batch_size": 7,
    "seed": 2**64 - 1,
    "evaluate": ("val", "test"),
    "optimizer": SGD(learning_rate=0.01, momentum=0.8, weight_decay=0.5, decay_all=True, clip_norm=1.5, sam=0.05),
    "schedule": Schedule("linear", warmup=0.25, by_epoch=True),
    "loss": CVaRDRO(fraction=0.3, label_smoothing=0.1),
    "augment": Augment(flip=False, crop_scale=0.7, mixup=0.2),
    "repeat": RepeatErrors("ab" * 32, times=20),
    "inputs": Images(size=48, resize=56),
    "compute": Compute(precision="fp16", compile=True, accumulate=3, processes=2),
    "record": Record(evaluate_every=0.25, checkpoint_every=2.0, early_steps=(1, 10), keep=3, save_every=50),
}
"""Every argument and option, but those that exclude them."""
OTHERS: list[dict[str, Any]] = [
    {"optimizer": AdamW(learning_rate=0.1, weight_decay=0.2, decay_all=False, clip_norm=0.3, sam=0.4)},
    {"loss": GroupDRO(rate=0.02, adjustment=2.0, label_smoothing=0.25)},
    {"loss": CrossEntropy(label_smoothing=0.25)},
    {"inputs": Texts(max_tokens=16, pad_to_max=True, pooling="mean")},
    {"missing_groups": "skip"},
    {"balance": "upweighting", "by": "ef" * 32},
    {"by": "a-name", "loss": GroupDRO()},
]
LEAST: dict[str, Any] = {"dataset": "footwear", "backbone": "test_resnet"}


def sent(**arguments: Any) -> runs_pb2.FinetuneSpec:
    return recipes.finetune_spec(LEAST | arguments)


def test_a_spec_survives_the_round_trip() -> None:
    spec = decode.finetune_spec(recipes.finetune_spec(CHOSEN))
    assert spec.arguments() == CHOSEN
    again = decode.finetune_spec(recipes.finetune_spec(spec.arguments()))
    assert again == spec


@pytest.mark.parametrize("other", OTHERS)
def test_so_do_options_that_exclude_each_other(other: dict[str, Any]) -> None:
    spec = decode.finetune_spec(sent(**other))
    assert spec.arguments() == LEAST | {"attribute": "", "balance": "none"} | other


def test_every_field_of_the_wire_is_written_somewhere() -> None:
    """In a request with everything that can be asked for, and in what excludes it."""
    reached = {
        path
        for arguments in (CHOSEN, *OTHERS, {"recipe": "labonte2024-waterbirds"})
        for path, message, field in fields_of(sent(**arguments))
        if field.name in {one.name for one, _ in message.ListFields()}
    }
    assert reached == set(PLACES)


def test_the_table_of_options_is_that_of_the_classes() -> None:
    for argument, kinds in GROUPS.items():
        for name in kinds:
            kind = getattr(penult, name)
            written_there = {place.option for place in PLACES.values() if name in place.classes}
            assert {field.name for field in fields(kind)} == written_there, name
            assert all(place.argument == argument for place in PLACES.values() if name in place.classes)


def test_a_class_of_options_says_itself_also_without_options() -> None:
    assert sent(optimizer=SGD()).optimizer == runs_pb2.OPTIMIZER_NAME_SGD
    assert sent(loss=GroupDRO()).objective.loss == runs_pb2.LOSS_NAME_GROUP_DRO
    assert decode.finetune_spec(sent(optimizer=AdamW())).optimizer == AdamW()
    assert sent(schedule=Schedule(), inputs=Images(), record=Record(early_steps=[])) == sent()


def test_options_print_as_they_were_written() -> None:
    assert repr(SGD(learning_rate=0.1, momentum=0.0)) == "SGD(learning_rate=0.1, momentum=0.0)"
    assert repr(Schedule("linear")) == "Schedule(name='linear')"
    assert eval(repr(CHOSEN["repeat"])) == CHOSEN["repeat"]


def test_what_is_left_out_is_not_sent() -> None:
    left_out = dict.fromkeys({"recipe", *CHOSEN} - set(LEAST))
    for asked in (LEAST, LEAST | left_out):
        spec = recipes.finetune_spec(asked)
        assert {field.name for field, _ in spec.ListFields()} == {"dataset", "backbone"}
    assert decode.finetune_spec(spec).arguments() == LEAST | {"attribute": "", "balance": "none"}


def test_zero_is_not_left_out() -> None:
    nothing = {
        "seed": 0,
        "optimizer": AdamW(weight_decay=0.0),
        "loss": GroupDRO(rate=0.0),
        "augment": Augment(flip=False, mixup=0.0),
        "inputs": Images(size=0),
    }
    spec = decode.finetune_spec(recipes.finetune_spec(LEAST | nothing))
    assert spec.arguments() == LEAST | nothing | {"attribute": "", "balance": "none"}
    own = recipes.finetune_spec(LEAST | {"balance": "mixture", "ratio": "dataset"})
    assert own.balance.HasField("ratio")
    assert own.balance.ratio == 0
    assert decode.finetune_spec(own).ratio == "dataset"


def test_a_recipe_may_say_what_is_finetuned() -> None:
    spec = recipes.finetune_spec({"recipe": "labonte2024-celeba"})
    assert spec == runs_pb2.FinetuneSpec(recipe="labonte2024-celeba")
    both = recipes.finetune_spec({"recipe": "labonte2024-celeba", "dataset": "mine", "backbone": None})
    assert (both.dataset, both.backbone) == ("mine", "")


@pytest.mark.parametrize("name", list(RECIPES))
def test_the_arguments_that_a_recipe_sets_ask_for_what_it_is(name: str) -> None:
    expected = runs_pb2.FinetuneSpec()
    expected.CopyFrom(RECIPES[name].request)
    # What every run says.
    expected.balance.method = expected.balance.method or groups_pb2.BALANCE_METHOD_NONE
    assert recipes.finetune_spec(listed_recipes()[name].sets) == expected


def test_recipes_are_a_list_a_table_and_part_of_the_help() -> None:
    assert list(get_args(RecipeName)) == list(RECIPES) == [one.name for one in listed_recipes()]
    assert list(listed_recipes().to_frame()["name"]) == list(RECIPES)
    said = " ".join((inspect.getdoc(Client.finetune) or "").split())
    assert "[recipes]" not in said
    for one in listed_recipes():
        assert one.source
        assert repr(one) in said
    with pytest.raises(errors.InvalidRequest, match="did you mean 'liu2021-celeba'"):
        listed_recipes()["liu2021-celebA"]
    assert listed_recipes()[0] == listed_recipes()["labonte2024-waterbirds"] == listed_recipes()[:1][0]


def test_signature_and_dictionary_are_one() -> None:
    parameters = dict(inspect.signature(Client.finetune).parameters)
    for name in ("self", "timeout"):
        parameters.pop(name)
    assert list(parameters) == list(recipes.FinetuneArguments.__annotations__)
    defaults = {name: one.default for name, one in parameters.items() if one.default is not inspect.Parameter.empty}
    assert defaults == dict.fromkeys(parameters)
    signature = get_type_hints(Client.finetune)
    assert {name: signature[name] for name in parameters} == get_type_hints(recipes.FinetuneArguments)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"optimizer": "sgd"}, r"optimizer must be penult.AdamW\(...\) or penult.SGD\(...\); got 'sgd'"),
        ({"optimizer": SGD}, r"call it, penult.SGD\(\)"),
        ({"optimizer": Schedule("cosine")}, r"got Schedule\(name='cosine'\)"),
        ({"optimizer": SGD(learning_rate="x")}, r"optimizer=SGD\(learning_rate=...\) must be a number; got 'x'"),
        ({"optimizer": AdamW(sam=True)}, r"optimizer=AdamW\(sam=...\) must be a number"),
        ({"schedule": Schedule("step")}, r"schedule=Schedule\(name=...\) must be one of .*'linear'"),
        ({"compute": Compute(precision="tf32")}, "'bf16'"),
        ({"compute": {"precision": "fp32"}}, r"penult.Compute\(...\)"),
        ({"inputs": Texts(pooling="max")}, "'mean'"),
        ({"loss": "group_dro"}, r"penult.GroupDRO\(...\)"),
        ({"repeat": RepeatErrors("", times=2)}, r"repeat=RepeatErrors\(checkpoint=...\): a checkpoint is"),
        ({"record": Record(early_steps=3)}, r"record=Record\(early_steps=...\) takes a list"),
        ({"learning_rate": 0.1, "mixup": 0.2}, r"write optimizer=AdamW\(learning_rate=...\), augment=Augment\(mixup"),
        ({"balance": "mixture", "ratio": 0.5}, "ratio must be at least 1"),
        ({"balance": "mixture", "ratio": "own"}, "'dataset'"),
        ({"evaluate": "val"}, "list of names"),
        ({"evaluate": []}, "a split at least"),
        ({"by": "groups"}, "'group'"),
        ({"augment": Augment(mixup=float("nan"))}, "mixup"),
        ({"seed": -1}, "seed"),
        ({"epoch": 3}, "backbone.*record, .*note; got epoch"),
        ({"dataset": None}, "dataset= must be given, or a recipe="),
        ({"recipe": "labonte2024-waterbird"}, "did you mean 'labonte2024-waterbirds'"),
    ],
)
def test_wrong_recipes_are_refused_before_any_call(change: dict[str, Any], said: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=said):
        recipes.finetune_spec(LEAST | change)


WILD = [
    *(True, -1, 1e400, float("nan"), 10**30, "x", "\ud800", b"x", [], [None], {}, {1}, object(), np.ones(2)),
    *(SGD, AdamW()),
]


def refusal(arguments: dict[str, Any]) -> str:
    """Why a request is refused; empty where it is sent, such as a learning rate of -1, whose range is the server's."""
    try:
        decode.finetune_spec(sent(**arguments)).arguments()
    except errors.InvalidRequest as error:
        return error.message
    return ""


@pytest.mark.parametrize("name", [name for kinds in GROUPS.values() for name in kinds])
def test_no_value_of_an_option_ends_in_anything_but_a_refusal(name: str) -> None:
    kind = getattr(penult, name)
    least = {"checkpoint": "ab" * 32, "times": 2} if name == "RepeatErrors" else {}
    argument = next(argument for argument, kinds in GROUPS.items() if name in kinds)
    for option in fields(kind):
        said = [refusal({argument: kind(**least | {option.name: value})}) for value in WILD]
        refused = [one for one in said if one]
        assert len(refused) > len(WILD) / 2
        assert all(f"{argument}={name}({option.name}=...)" in one for one in refused)


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
            recipes.swept(requests, seeds)


def test_a_group_of_jobs_is_a_sequence() -> None:
    connection = Connection("localhost:1")
    jobs = [
        Job(connection, jobs_pb2.Job(id=name, state=jobs_pb2.JOB_STATE_SUCCEEDED), run_result) for name in ("a", "b")
    ]
    group = JobGroup(jobs)
    assert (len(group), [job.id for job in group], group[1].id) == (2, ["a", "b"], "b")
    assert repr(group) == "JobGroup(a succeeded, b succeeded)"
