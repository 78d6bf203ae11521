"""A backbone with its head: what the head reads, and the check that it reads just that."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# Outputs of transformers' models are untyped, torch annotates its iterators over modules in part.

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from penult_proto.errors import ErrorKind
from penult_server.backbones.catalog import Library, Pooling
from penult_server.backbones.forward import run_module
from penult_server.backbones.heads import at_last_token
from penult_server.backbones.images.preprocessing import Batch, Preprocessing, TextPreprocessing
from penult_server.errors import ServiceError
from penult_server.notes import Note

HeadOrigin = Literal["new", "kept", "trained"]
"""Where the head of a model comes from: drawn afresh, from the files of the model, or from a training here."""
HEAD_TOLERANCE = 1e-5
"""Largest |head(features) - logits| allowed, relative to the largest |logit|."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FileHead:
    """The head that the files of a model hold, beside the head that the model was given."""

    n_rows: int
    source: str
    """The file or directory, for messages."""
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of the rows, where the files say them."""
    weight: Tensor | None = None
    """(n_rows, D), float32; None where only the number of rows is known."""
    bias: Tensor | None = None
    """(n_rows,), zeros for a layer without."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classifier:
    """A model that ends in one linear layer, and everything needed to feed it."""

    name: str
    library: Library
    module: nn.Module
    """The whole network, float32."""
    head: nn.Linear
    """The last layer of `module`."""
    head_name: str
    """Path of the head inside `module`, such as "classifier" or "head.fc"."""
    preprocessing: Preprocessing
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """Configuration and tokenizer files (transformers) that a checkpoint needs to be built again offline."""
    pooling: Pooling = "model"
    """What the head of a text model reads."""
    build: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the library's own layout on disk says of the model and `files` do not; JSON."""
    of_last_token: bool = False
    """Whether the head is applied to every token of a text, and the logits are those of its last one."""
    found: FileHead | None = None
    """The head that its files hold; None for none, and for models that come by their name."""
    head_origin: HeadOrigin = "new"
    notes: tuple[Note, ...] = ()
    """How its files were read, and what became of their head."""

    @property
    def preprocessing_id(self) -> str:
        return self.preprocessing.identity

    @property
    def n_features(self) -> int:
        return self.head.in_features

    @property
    def n_classes(self) -> int:
        return self.head.out_features

    def with_file(self, found: FileHead | None, notes: Sequence[Note]) -> "Classifier":
        """The same model, and what its files hold beside the weights below the head."""
        return replace(self, found=found, notes=(*self.notes, *notes))

    def with_head(self, weight: Tensor, bias: Tensor) -> "Classifier":
        """The same model with a head that was kept, put in place. Raises ValueError for one of another shape."""
        if weight.shape != self.head.weight.shape:
            raise ValueError(f"a head {tuple(weight.shape)} in the place of {tuple(self.head.weight.shape)}")
        self.head.weight.data.copy_(weight)
        if self.head.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]  a head without bias has None
            self.head.bias.data.copy_(bias)
        return replace(self, head_origin="kept")

    def logits(self, batch: Batch) -> Tensor:
        """Logits (N, C)."""
        return run_module(self.module, self.library, batch)

    def forward_with_features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Features (N, D), exactly what the head multiplies, and logits (N, C), in one pass.

        Both float32, whatever the memory order; under autocast in its type, then head(features) equals the logits
        within that type's rounding alone. Stored features, metrics and checks are made outside autocast.
        In training mode the features are those that this pass's dropout left.
        """
        seen: list[Tensor] = []

        def remember(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            seen.append(inputs[0])

        hook = self.head.register_forward_pre_hook(remember)
        try:
            logits = self.logits(batch)
        finally:
            hook.remove()
        return self._read_by_head(seen[-1], batch), logits

    def _read_by_head(self, features: Tensor, batch: Batch) -> Tensor:
        """The features (N, D) among what passed into the head."""
        if self.of_last_token and isinstance(self.preprocessing, TextPreprocessing):
            return at_last_token(features, batch, self.preprocessing.pad_id)
        return features.flatten(start_dim=1)

    def to(self, device: torch.device) -> "Classifier":
        """Move the weights; 4-dimensional ones in channels-last order (CNNs train 1.8 times faster on CPU)."""
        self.module.to(device=device)
        # The overload for a memory format alone is missing from torch's types.
        self.module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        return self


@torch.inference_mode()
def check_head(classifier: Classifier, batch: Batch) -> float:
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
    """Turn a full GPU into an error that says what to do. Raises ServiceError (OUT_OF_MEMORY)."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ServiceError(
            ErrorKind.OUT_OF_MEMORY,
            f"the GPU's memory does not hold a batch of {batch_size}; use a smaller batch_size or wait for other jobs",
            batch_size=batch_size,
        ) from error
