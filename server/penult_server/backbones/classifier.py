"""A backbone with its head: what the head reads, and the proof that it reads just that."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# Outputs of transformers' models are untyped, torch annotates its iterators over modules in part.

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from penult_proto.errors import ErrorKind
from penult_server.backbones.catalog import Library
from penult_server.backbones.preprocessing import Batch, Preprocessing
from penult_server.errors import ServiceError

HEAD_TOLERANCE = 1e-5
"""Largest |head(features) - logits| allowed, relative to the largest |logit|."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classifier:
    """A model that ends in one linear layer, and everything needed to feed it."""

    name: str
    library: Library
    module: nn.Module
    """The whole network, float32."""
    head: nn.Linear
    """Its last layer, a part of `module`."""
    head_name: str
    """Path of the head inside `module`, such as "classifier" or "head.fc"."""
    preprocessing: Preprocessing
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """Configuration and tokenizer files (transformers) that a checkpoint needs to be built again offline."""

    @property
    def preprocessing_id(self) -> str:
        return self.preprocessing.identity

    @property
    def n_features(self) -> int:
        return self.head.in_features

    @property
    def n_classes(self) -> int:
        return self.head.out_features

    def logits(self, batch: Batch) -> Tensor:
        """Logits (N, C)."""
        return run_module(self.module, self.library, batch)

    def forward_with_features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Features (N, D), exactly what the head multiplies, and logits (N, C), in one pass."""
        seen: list[Tensor] = []

        def remember(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            seen.append(inputs[0])

        hook = self.head.register_forward_pre_hook(remember)
        try:
            logits = self.logits(batch)
        finally:
            hook.remove()
        return seen[-1], logits

    def to(self, device: torch.device) -> "Classifier":
        """Move the weights; 4-dimensional ones in channels-last order (CNNs train 1.8 times faster on CPU)."""
        self.module.to(device=device)
        # The overload for a memory format alone is missing from torch's types.
        self.module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        return self


def run_module(module: nn.Module, library: Library, batch: Batch) -> Tensor:
    """Logits of a model of either library."""
    if library == "timm":
        return module(batch)
    if isinstance(batch, dict):
        return module(**batch).logits
    return module(pixel_values=batch).logits


@torch.inference_mode()
def find_head(module: nn.Module, library: Library, batch: Batch, name: str) -> tuple[str, nn.Linear]:
    """The last linear layer that runs, if its output is the logits; by its path.

    Found by running the model once rather than by a layer's name, so it holds for any architecture.

    Raises ServiceError (INVALID_ARGUMENT) for a model that does not end in one linear layer over pooled
    features.
    """
    paths = {layer: path for path, layer in module.named_modules() if isinstance(layer, nn.Linear)}
    ran: list[tuple[nn.Linear, Tensor, Tensor]] = []

    def remember(layer: nn.Linear, inputs: tuple[Any, ...], output: Tensor) -> None:
        ran.append((layer, inputs[0], output))

    hooks = [layer.register_forward_hook(remember) for layer in paths]
    module.eval()
    try:
        logits = run_module(module, library, batch)
    finally:
        for hook in hooks:
            hook.remove()
    if ran:
        head, features, output = ran[-1]
        if features.ndim == 2 and output.shape == logits.shape and torch.equal(output, logits):
            return paths[head], head
    raise ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        f"the model {name!r} does not end in one linear layer over pooled features (N, D): its last linear layer is "
        f"{paths[ran[-1][0]] if ran else 'missing'!r}, whose output is not the logits; choose another backbone",
        backbone=name,
    )


def reset_head(head: nn.Linear, generator: torch.Generator) -> None:
    """Draw a fresh head: weight and bias uniform in +-1/sqrt(D), the default of torch's linear layers.

    Drawn on the CPU, so that it does not depend on the device.
    """
    bound = head.in_features**-0.5
    for parameter in (head.weight, head.bias):
        # A head without bias has None there, which the types do not say.
        if parameter is not None:  # pyright: ignore[reportUnnecessaryComparison]
            drawn = torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator)
            parameter.data.copy_(drawn)


@torch.inference_mode()
def prove_head(classifier: Classifier, batch: Batch) -> float:
    """Largest |head(features) - logits| over a batch, relative to the largest |logit|.

    Raises ServiceError: DIVERGED when the logits are not finite; INTERNAL when the difference exceeds 1e-5,
    for then the features are not what the head reads, and nothing computed from them would be about this model.
    """
    classifier.module.eval()
    features, logits = classifier.forward_with_features(batch)
    if not torch.isfinite(logits).all():
        raise ServiceError(ErrorKind.DIVERGED, f"the model {classifier.name!r} gives logits that are not finite")
    largest = float(logits.abs().max())
    difference = float((classifier.head(features) - logits).abs().max())
    error = difference / largest if largest > 0 else difference
    expected = (len(logits), classifier.n_features)
    if tuple(features.shape) != expected or error > HEAD_TOLERANCE:
        raise ServiceError(
            ErrorKind.INTERNAL,
            f"the head of {classifier.name!r} does not reproduce its logits: relative difference {error:.1e} "
            f"(at most {HEAD_TOLERANCE:.0e}), features {tuple(features.shape)} (expected {expected})",
            backbone=classifier.name,
        )
    return error


@contextmanager
def memory_errors(batch_size: int) -> Generator[None]:
    """Say of a GPU that is full what can be done about it. Raises ServiceError (OUT_OF_MEMORY)."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ServiceError(
            ErrorKind.OUT_OF_MEMORY,
            f"the GPU's memory does not hold a batch of {batch_size}; use a smaller batch_size or wait for other jobs",
            batch_size=batch_size,
        ) from error
