"""The last hidden state of a backbone, flattened: the features that LaBonte et al. (2024) take spectra of.

It is what the backbone gives before any pooling, all positions of it: (N, channels, height, width) of a convolutional
network, (N, tokens, width) of a transformer, with texts padded to `max_tokens` so that every example is equally long.
No head reads it.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Outputs of timm's and transformers' models are untyped.

from typing import Any

import torch
from torch import Tensor, nn

from penult_proto.errors import ErrorKind
from penult_server.backbones.classifier import Classifier
from penult_server.backbones.images.preprocessing import Batch, TextPreprocessing
from penult_server.errors import ServiceError


def forward_with_hidden(classifier: Classifier, batch: Batch) -> tuple[Tensor, Tensor]:
    """Flattened last hidden state (N, T * H) and logits (N, C), in one pass.

    Raises ServiceError (INVALID_ARGUMENT) when the model does not show its last hidden state.
    """
    if classifier.library == "timm":
        hidden, logits = _through_timm(classifier, batch)
    else:
        hidden, logits = _through_transformers(classifier, _padded(classifier, batch))
    return hidden.flatten(start_dim=1), logits


@torch.inference_mode()
def hidden_width(classifier: Classifier, device: torch.device) -> int:
    """T * H, found by running the model once."""
    preprocessing = classifier.preprocessing
    classifier.module.eval()
    hidden, _ = forward_with_hidden(classifier, preprocessing.to_batch(preprocessing.probe(), device))
    return int(hidden.shape[1])


def _through_timm(classifier: Classifier, batch: Batch) -> tuple[Tensor, Tensor]:
    """timm's models run `forward_features`, whose output is the last hidden state, then `forward_head`."""
    module: Any = classifier.module
    if not (hasattr(module, "forward_features") and hasattr(module, "forward_head")):
        raise _hidden_is_hidden(classifier)
    hidden = module.forward_features(batch)
    if not isinstance(hidden, Tensor):
        raise _hidden_is_hidden(classifier)
    return hidden, module.forward_head(hidden)


def _through_transformers(classifier: Classifier, batch: Batch) -> tuple[Tensor, Tensor]:
    """transformers' classifiers hold the backbone, `base_model`, which returns a `last_hidden_state`."""
    seen: list[Any] = []

    def remember(_: nn.Module, __: Any, output: Any) -> None:
        seen.append(getattr(output, "last_hidden_state", None))

    module: Any = classifier.module
    hook = module.base_model.register_forward_hook(remember)
    try:
        logits = classifier.logits(batch)
    finally:
        hook.remove()
    if not seen or not isinstance(seen[-1], Tensor):
        raise _hidden_is_hidden(classifier)
    return seen[-1], logits


def _padded(classifier: Classifier, batch: Batch) -> Batch:
    """Texts padded to `max_tokens`, whatever the longest of the batch is."""
    preprocessing = classifier.preprocessing
    if not isinstance(batch, dict) or not isinstance(preprocessing, TextPreprocessing):
        return batch
    missing = preprocessing.max_tokens - batch["input_ids"].shape[1]
    pad_values = {"input_ids": preprocessing.pad_id}
    return {
        name: nn.functional.pad(values, (0, missing), value=pad_values.get(name, 0)) for name, values in batch.items()
    }


def _hidden_is_hidden(classifier: Classifier) -> ServiceError:
    return ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        f"the model {classifier.name!r} does not show its last hidden state, so it has no flat features; "
        "extract kind='pooled'",
        backbone=classifier.name,
    )
