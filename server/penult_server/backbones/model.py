"""Loading a backbone with a fresh head, ready for finetuning."""

# pyright: reportUnknownMemberType=false
# torch annotates its random state in part.

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from penult_proto.errors import ErrorKind
from penult_proto.limits import MOST_CONFIG_BYTES
from penult_server.backbones.catalog import (
    Library,
    Pooling,
    classes_of_config,
    is_model_directory,
    label_names,
    library_of,
)
from penult_server.backbones.classifier import Classifier, FileHead
from penult_server.backbones.files.fitting import fit
from penult_server.backbones.files.tensors import ForeignObjects, read_tensors
from penult_server.backbones.forward import run_module
from penult_server.backbones.heads import PointwiseHead, find_head, reset_head
from penult_server.backbones.images import images
from penult_server.backbones.images.preprocessing import ImagePreprocessing, Preprocessing, TextPreprocessing
from penult_server.backbones.weights_file import in_directory
from penult_server.errors import ServiceError
from penult_server.named.roots import read_named

CPU = torch.device("cpu")


def load_backbone(
    name: str,
    n_classes: int,
    *,
    pretrained: bool,
    seed: int,
    image_size: int = 0,
    max_tokens: int = 128,
    weights: str = "",
    pooling: Pooling = "model",
    foreign_objects: ForeignObjects = "refuse",
    source: str = "",
) -> Classifier:
    """A backbone of timm or transformers with a fresh head, in float32 on the CPU, in eval mode.

    A head that its files hold is not loaded; it comes beside the model, as `found`.

    Parameters
    ----------
    name : a timm model name, a packaged name, an absolute directory in timm's or transformers' layout, or a hub name.
    n_classes : outputs of the head; 0 for as many as the files of a directory say.
    pretrained : False draws all weights from the seed.
    seed : of the head (weight and bias uniform in +-1/sqrt(D)) and of random weights; no global state is kept.
    image_size : side of the square input in pixels; 0 takes the model's own.
    max_tokens : tokens kept of each text.
    pooling : what the head of a text model reads; unused for images.
    weights : absolute path of a file of weights of the architecture; empty for the weights that its name has.
    foreign_objects : what is done about objects in that file that are no tensors.
    source : what the files are called in messages; their path by default.

    Raises
    ------
    ServiceError : UNKNOWN_BACKBONE (naming the nearest), WEIGHTS_UNAVAILABLE (what to do about it),
        INVALID_ARGUMENT (a size the model cannot take, a model without a linear head).
    """
    library = library_of(name)
    weights_seed, head_seed = weights_and_head_seeds(seed)
    files: dict[str, bytes] = {}
    found: FileHead | None = None
    with seeded(weights_seed):
        if library == "timm":
            n_classes = n_classes or classes_of_config(name)
            named = pretrained and not weights
            module = images.build_module(name, n_classes, pretrained=named, image_size=image_size)
            if is_model_directory(name):
                files = {"config.json": read_named(Path(name) / "config.json", MOST_CONFIG_BYTES)}
            preprocessing: Preprocessing = images.preprocessing_of(module, image_size)
        else:
            # Imported here: transformers takes seconds to load, and image jobs never need it.
            from penult_server.backbones.texts.transformer import load_transformer

            module, preprocessing, files, found = load_transformer(
                name,
                n_classes,
                pretrained=pretrained and not weights,
                image_size=image_size,
                max_tokens=max_tokens,
                pooling=pooling,
                source=source,
            )
    if preprocessing.modality == "image":
        pooling = "model"
    classifier = bundle(name, library, module, preprocessing, files, pooling)
    if found is not None:
        classifier = classifier.with_file(_of_module(found, classifier), ())
    if pretrained and (weights or (library == "timm" and is_model_directory(name))):
        file = Path(weights) if weights else in_directory(name)
        tensors = read_tensors(file, foreign_objects, source=source or str(file))
        named_rows = () if weights else label_names(name)
        classifier = fit(classifier, replace(tensors, classes=named_rows or tensors.classes))
    reset_head(classifier.head, torch.Generator().manual_seed(head_seed))
    return classifier


def weights_and_head_seeds(seed: int) -> tuple[int, int]:
    """Seeds of the random weights, and of the fresh head."""
    weights_seed, head_seed = (int(part) for part in np.random.SeedSequence(seed).generate_state(2, np.uint64))
    return weights_seed, head_seed


def _of_module(found: FileHead, classifier: Classifier) -> FileHead:
    """The head of a directory whose weights were loaded with it: the one that the module has."""
    if found.n_rows != classifier.n_classes:
        return found
    head = classifier.head
    bias = torch.zeros(head.out_features) if head.bias is None else head.bias.detach().clone()  # pyright: ignore[reportUnnecessaryComparison]
    return replace(found, weight=head.weight.detach().clone(), bias=bias)


def bundle(
    name: str,
    library: Library,
    module: nn.Module,
    preprocessing: Preprocessing,
    files: dict[str, bytes],
    pooling: Pooling,
) -> Classifier:
    """A module with its head, found by running it once on the CPU."""
    module.float().eval()
    batch = preprocessing.to_batch(preprocessing.probe(), CPU)
    pad_id = preprocessing.pad_id if isinstance(preprocessing, TextPreprocessing) else 0
    try:
        found = find_head(module, partial(run_module, module, library), batch, name=name, pad_id=pad_id)
    # Two plain examples; a model that needs more than those may raise anything.
    except (RuntimeError, AssertionError, ValueError, TypeError, AttributeError, LookupError) as error:
        if isinstance(preprocessing, ImagePreprocessing):
            raise images.wrong_size(name, preprocessing.size, error) from error
        raise cannot_run(name, preprocessing.modality, error) from error
    return Classifier(
        name=name,
        library=library,
        module=module,
        head=found.layer,
        head_name=found.path,
        pooling=pooling,
        of_last_token=found.of_last_token,
        build=described(module, library, found.layer, files, preprocessing),
        preprocessing=preprocessing,
        files=files,
    )


def described(
    module: nn.Module, library: Library, head: nn.Linear, files: Mapping[str, bytes], preprocessing: Preprocessing
) -> dict[str, Any]:
    """What the library's own layout on disk says of a model besides its preprocessing and classes; JSON.

    Of transformers the `class`. Of timm the `architecture`, the `model_args` that build it, what of the
    `pretrained_cfg` is about the architecture, and `head_is_convolution`: whether its own head is a 1 x 1 convolution.
    """
    if library == "transformers" or not isinstance(preprocessing, ImagePreprocessing):
        return {"class": type(module).__name__}
    said = images.described(module, files, preprocessing.size)
    return {**said, "head_is_convolution": isinstance(head, PointwiseHead)}


def cannot_run(name: str, modality: str, error: Exception) -> ServiceError:
    """The error for a model that does not give logits for plain examples of its modality."""
    return ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        f"the model {name!r} gave no logits for two {modality}s alone ({type(error).__name__}: {error}); choose one "
        f"that classifies {modality}s without further inputs",
        backbone=name,
    )


@contextmanager
def seeded(seed: int, device: torch.device = CPU) -> Generator[None]:
    """Run the block with torch's global generators seeded, and put them back afterwards.

    Initialisers and dropout of both libraries know no other source.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        # `torch.manual_seed` would seed every GPU, and only this device's state is put back.
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.default_generators[device.index or 0].manual_seed(seed)
        yield
