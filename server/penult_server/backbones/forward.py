"""Running a model of either library."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# Outputs of transformers' models are untyped.

from torch import Tensor, nn

from penult_server.backbones.catalog import Library
from penult_server.backbones.images.preprocessing import Batch


def run_module(module: nn.Module, library: Library, batch: Batch) -> Tensor:
    """Logits (N, C)."""
    if library == "timm":
        return module(batch)
    if isinstance(batch, dict):
        return module(**batch).logits
    return module(pixel_values=batch).logits
