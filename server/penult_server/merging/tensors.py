"""What the tensors of a checkpoint are to a merge, by their names and types alone."""

from collections.abc import Collection, Mapping
from typing import Literal, TypeAlias

from penult_kernels.weight_space.blocks import block_of
from penult_proto.safetensors import Header, Tensor
from penult_server.stores.checkpoints import CheckpointManifest

Scope: TypeAlias = Literal["body", "full", "head", "blocks"]
VERSION = 1
"""Version of the definitions of all methods; raised when the same request would make other weights than before."""
STATISTICS = (".running_mean", ".running_var")
"""How the names of BatchNorm's running statistics end."""
N_BATCHES = ".num_batches_tracked"


def has_batch_norm(header: Header) -> bool:
    """Whether a network has running statistics."""
    return any(is_statistic(name) for name in header.tensors)


def is_statistic(name: str) -> bool:
    """Whether a tensor is a function of weights and data, and no weight."""
    return name.endswith(STATISTICS)


def is_number(tensor: Tensor) -> bool:
    """Whether a tensor holds real numbers, which can be averaged."""
    return tensor.dtype.startswith("F")


def head_of(manifest: CheckpointManifest) -> set[str]:
    """The tensors of the head."""
    return {manifest.head_weight, manifest.head_bias} - {""}


def merged_tensors(
    header: Header, manifest: CheckpointManifest, scope: Scope, blocks: Collection[str] = ()
) -> list[str]:
    """Names of the tensors that a rule merges, in order: real numbers within the scope, running statistics not."""
    head = head_of(manifest)
    within: Mapping[Scope, bool]
    found: list[str] = []
    for name, tensor in sorted(header.tensors.items()):
        within = {
            "full": True,
            "body": name not in head,
            "head": name in head,
            "blocks": block_of(name) in blocks,
        }
        if within[scope] and is_number(tensor) and not is_statistic(name):
            found.append(name)
    return found
