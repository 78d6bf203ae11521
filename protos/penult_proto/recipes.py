"""Finetuning recipes: published training set-ups as data. The server expands them, the client lists and explains them.

A recipe is a request with the fields that make the set-up; what a request says itself takes their place, field by
field, and what then has no effect is left out. Its dataset is the name under which the published files are registered.
A run does not remember its recipe, only the arguments: asked for by these, it is the same run. To add one, write it
into `RECIPES`, run ``python -m penult_proto.generate``, and add its table to ``tests/server/test_recipes.py``.

What penult does not have is in the sentence of each: the numbers below are those of the authors' files.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from penult_proto.v1 import groups_pb2 as groups
from penult_proto.v1 import runs_pb2 as pb

LABONTE = "LaBonte et al. 2024, arXiv 2407.13957, its configuration files"
SAGAWA = "Sagawa et al. 2020, arXiv 1911.08731, the command of its repository"
LIU = "Liu et al. 2021, arXiv 2107.09044, the commands of its repository"

DRAWS_OF_GROUPS = groups.Balance(method=groups.BALANCE_METHOD_UPSAMPLING, by=groups.BALANCE_BY_GROUP)
RESNET = "resnet50.tv_in1k"
"""torchvision's first weights of ResNet-50, by their name in timm."""
SQUASHED = "its code resizes images to squares before it crops their center, penult keeps their shape"


def _of(first: pb.FinetuneSpec, **more: object) -> pb.FinetuneSpec:
    """A request with more fields, or others."""
    spec = pb.FinetuneSpec()
    spec.CopyFrom(first)
    spec.MergeFrom(pb.FinetuneSpec(**more))  # pyright: ignore[reportArgumentType]
    return spec


# Its schedules go by the epoch, without a warm-up. Its models are trained in fp32.
_LABONTE = pb.FinetuneSpec(
    optimizer=pb.OPTIMIZER_NAME_ADAMW,
    learning_rate=1e-5,
    weight_decay=1e-4,
    warmup=0.0,
    schedule_by_epoch=True,
    batch_size=32,
    precision=pb.PRECISION_FP32,
)
# Of its images every weight decays; RandomResizedCrop(224, scale=(0.7, 1)) in training, Resize(256) and CenterCrop(224)
# in evaluation.
_LABONTE_IMAGES = _of(
    _LABONTE,
    backbone="facebook/convnextv2-base-1k-224",
    schedule=pb.SCHEDULE_NAME_COSINE,
    decay_all=True,
    flip=True,
    crop_scale=0.7,
    image_size=224,
    image_resize=256,
)
# Of its texts biases and normalisation layers do not decay. It pads to max_tokens, which changes rounding alone.
_LABONTE_TEXTS = _of(
    _LABONTE,
    backbone="bert-base-uncased",
    schedule=pb.SCHEDULE_NAME_LINEAR,
    decay_all=False,
    epochs=20,
    evaluate_every=2.0,
    checkpoint_every=2.0,
)
# SGD whose decay acts on every weight, at a constant rate, on images that are not augmented.
_RESNET_SGD = pb.FinetuneSpec(
    backbone=RESNET,
    optimizer=pb.OPTIMIZER_NAME_SGD,
    momentum=0.9,
    decay_all=True,
    schedule=pb.SCHEDULE_NAME_CONSTANT,
    warmup=0.0,
    flip=False,
    image_size=224,
    precision=pb.PRECISION_FP32,
)
_GROUP_DRO = pb.Objective(loss=pb.LOSS_NAME_GROUP_DRO, group_dro_rate=0.01, group_dro_adjustment=0.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recipe:
    """A training set-up that fills in the arguments of a finetuning."""

    sentence: str
    """What it is, for users."""
    source: str
    """Where it was published."""
    request: pb.FinetuneSpec
    """The partial request that it fills in."""


RECIPES: Mapping[str, Recipe] = {
    "labonte2024-waterbirds": Recipe(
        sentence="ConvNeXt V2 Base on Waterbirds, 100 epochs, measured every 10; the paper varies the model's size and "
        "the balance over classes, its mixture at ratio 2",
        source=LABONTE,
        request=_of(_LABONTE_IMAGES, dataset="waterbirds", epochs=100, evaluate_every=10.0, checkpoint_every=10.0),
    ),
    "labonte2024-celeba": Recipe(
        sentence="ConvNeXt V2 Base on CelebA, 20 epochs, measured every 2; its mixtures are at ratios 2, 3 and 4",
        source=LABONTE,
        request=_of(_LABONTE_IMAGES, dataset="celeba", epochs=20, evaluate_every=2.0, checkpoint_every=2.0),
    ),
    "labonte2024-civilcomments": Recipe(
        sentence="BERT Base on CivilComments, 20 epochs, measured every 2; its mixtures are at ratios 3 and 5",
        source=LABONTE,
        request=_of(_LABONTE_TEXTS, dataset="civilcomments", max_tokens=220),
    ),
    "labonte2024-multinli": Recipe(
        sentence="BERT Base on MultiNLI, 20 epochs, measured every 2; its classes are balanced as they are",
        source=LABONTE,
        request=_of(_LABONTE_TEXTS, dataset="multinli", max_tokens=128),
    ),
    "sagawa2020-waterbirds": Recipe(
        sentence=f"group DRO of ResNet-50 on Waterbirds, 300 epochs, groups drawn equally often; {SQUASHED}",
        source=SAGAWA,
        request=_of(
            _RESNET_SGD,
            dataset="waterbirds",
            balance=DRAWS_OF_GROUPS,
            objective=_GROUP_DRO,
            epochs=300,
            batch_size=128,
            learning_rate=1e-3,
            weight_decay=1e-4,
            image_resize=256,
        ),
    ),
    # It crops the middle 178 x 178 and resizes that to 224: the same region.
    "sagawa2020-celeba": Recipe(
        sentence="group DRO of ResNet-50 on CelebA, 50 epochs, groups drawn equally often",
        source=SAGAWA,
        request=_of(
            _RESNET_SGD,
            dataset="celeba",
            balance=DRAWS_OF_GROUPS,
            objective=_GROUP_DRO,
            epochs=50,
            batch_size=128,
            learning_rate=1e-4,
            weight_decay=1e-4,
            image_resize=224,
        ),
    ),
    "sagawa2020-multinli": Recipe(
        sentence="group DRO of BERT Base on MultiNLI, 3 epochs, groups drawn equally often",
        source=SAGAWA,
        request=pb.FinetuneSpec(
            dataset="multinli",
            backbone="bert-base-uncased",
            balance=DRAWS_OF_GROUPS,
            objective=_GROUP_DRO,
            epochs=3,
            batch_size=32,
            optimizer=pb.OPTIMIZER_NAME_ADAMW,
            learning_rate=2e-5,
            weight_decay=0.0,
            clip_norm=1.0,
            schedule=pb.SCHEDULE_NAME_LINEAR,
            warmup=0.0,
            schedule_by_epoch=False,
            max_tokens=128,
            precision=pb.PRECISION_FP32,
        ),
    ),
    "liu2021-waterbirds": Recipe(
        sentence="either stage of just train twice (JTT) with ResNet-50 on Waterbirds, 300 epochs: the second repeats "
        f"the errors of the first's checkpoint of epoch 60, `repeat=RepeatErrors(checkpoint, times=101)`; {SQUASHED}",
        source=LIU,
        request=_of(
            _RESNET_SGD,
            dataset="waterbirds",
            epochs=300,
            batch_size=64,
            learning_rate=1e-5,
            weight_decay=1.0,
            image_resize=256,
        ),
    ),
    "liu2021-celeba": Recipe(
        sentence="either stage of just train twice (JTT) with ResNet-50 on CelebA, 50 epochs: the second repeats the "
        "errors of the first's checkpoint of epoch 1, `repeat=RepeatErrors(checkpoint, times=51)`",
        source=LIU,
        request=_of(
            _RESNET_SGD,
            dataset="celeba",
            epochs=50,
            batch_size=64,
            learning_rate=1e-5,
            weight_decay=0.1,
            image_resize=224,
        ),
    ),
}
