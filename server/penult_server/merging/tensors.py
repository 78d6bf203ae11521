"""What the tensors of a checkpoint are to a merge, by their names and types alone."""

from collections.abc import Collection, Mapping
from typing import Literal, TypeAlias

from penult_kernels.weight_space.blocks import block_of, blocks_of
from penult_proto.safetensors import Header, Tensor
from penult_server.stores.checkpoints import CheckpointManifest

Scope: TypeAlias = Literal["body", "full", "head", "blocks"]
VERSION = 2
"""Version of the definitions of all methods; raised when the same request would make other weights than before.

2: a tensor under several names counts once.
"""
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
    """The tensors of the head, each by its first name."""
    others = other_names(manifest)
    return {others.get(name, name) for name in (manifest.head_weight, manifest.head_bias) if name}


def other_names(manifest: CheckpointManifest) -> dict[str, str]:
    """The further names of tensors that have several, and the first of each, under which it is merged."""
    return {other: first for first, *others in manifest.tied for other in others}


def all_blocks(header: Header, manifest: CheckpointManifest) -> dict[str, list[str]]:
    """The tensors of each block, in order; one of several names belongs to the block of the first."""
    others = other_names(manifest)
    return blocks_of(name for name in sorted(header.tensors) if name not in others)


def merged_tensors(
    header: Header, manifest: CheckpointManifest, scope: Scope, blocks: Collection[str] = ()
) -> list[str]:
    """Names of the tensors that a rule merges, in order: real numbers within the scope, running statistics not.

    A tensor of several names is there once, by the first; it belongs to the head where one of them does.
    """
    others, head = other_names(manifest), head_of(manifest)
    within: Mapping[Scope, bool]
    found: list[str] = []
    for name, tensor in sorted(header.tensors.items()):
        within = {
            "full": True,
            "body": name not in head,
            "head": name in head,
            "blocks": block_of(name) in blocks,
        }
        if within[scope] and is_number(tensor) and not is_statistic(name) and name not in others:
            found.append(name)
    return found
