"""Loading a backbone with a fresh head, ready for finetuning."""

# pyright: reportUnknownMemberType=false
# torch annotates its random state in part.

from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from penult_server.backbones import images
from penult_server.backbones.catalog import Library, library_of
from penult_server.backbones.classifier import Classifier, find_head, reset_head
from penult_server.backbones.preprocessing import ImagePreprocessing, Preprocessing

CPU = torch.device("cpu")


def load_backbone(
    name: str,
    n_classes: int,
    *,
    pretrained: bool,
    seed: int,
    image_size: int = 0,
    max_tokens: int = 128,
) -> Classifier:
    """A backbone of timm or transformers with a fresh head, in float32 on the CPU, in eval mode.

    Parameters
    ----------
    name : a timm model name, a packaged name, an absolute directory in transformers' layout, or a hub name.
    n_classes : outputs of the head.
    pretrained : False draws all weights from the seed.
    seed : of the head (weight and bias uniform in +-1/sqrt(D)) and of random weights; no global state is kept.
    image_size : side of the square input in pixels; 0 takes the model's own.
    max_tokens : tokens kept of each text.

    Raises
    ------
    ServiceError : UNKNOWN_BACKBONE (naming the nearest), WEIGHTS_UNAVAILABLE (what to do about it),
        INVALID_ARGUMENT (a size the model cannot take, a model without a linear head).
    """
    library = library_of(name)
    weights_seed, head_seed = (int(part) for part in np.random.SeedSequence(seed).generate_state(2, np.uint64))
    files: dict[str, bytes] = {}
    with seeded(weights_seed):
        if library == "timm":
            module = images.build_module(name, n_classes, pretrained=pretrained, image_size=image_size)
            preprocessing: Preprocessing = images.preprocessing_of(module, image_size)
        else:
            # Imported here: transformers takes seconds to load, and image jobs never need it.
            from penult_server.backbones.transformer import load_transformer

            module, preprocessing, files = load_transformer(
                name, n_classes, pretrained=pretrained, image_size=image_size, max_tokens=max_tokens
            )
    classifier = bundle(name, library, module, preprocessing, files)
    reset_head(classifier.head, torch.Generator().manual_seed(head_seed))
    return classifier


def bundle(
    name: str, library: Library, module: nn.Module, preprocessing: Preprocessing, files: dict[str, bytes]
) -> Classifier:
    """A module with its head, found by running it once on the CPU."""
    module.float().eval()
    batch = preprocessing.to_batch(preprocessing.probe(), CPU)
    try:
        head_name, head = find_head(module, library, batch, name)
    except (RuntimeError, AssertionError, ValueError) as error:
        if isinstance(preprocessing, ImagePreprocessing):
            raise images.wrong_size(name, preprocessing.size, error) from error
        raise
    return Classifier(
        name=name,
        library=library,
        module=module,
        head=head,
        head_name=head_name,
        preprocessing=preprocessing,
        files=files,
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
