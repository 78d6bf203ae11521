"""To which block of a network a tensor belongs, by its name alone.

A block is what stands before a name's first number, and that number: ``blocks.3``, ``layer1.0``,
``bert.encoder.layer.11``. A tensor without a number belongs to the module that holds it, by at most two parts of its
path: ``conv_stem``, ``bert.embeddings``, ``classifier``. So every tensor belongs to exactly one block.
"""

from collections.abc import Iterable

MOST_PARTS = 2
"""Parts of the path that name a block without a number."""


def block_of(tensor: str) -> str:
    """The block of a tensor."""
    parts = tensor.split(".")
    for index, part in enumerate(parts[:-1]):
        if part.isdigit() and index:
            return ".".join(parts[: index + 1])
    return ".".join(parts[:-1][:MOST_PARTS] or parts)


def blocks_of(tensors: Iterable[str]) -> dict[str, list[str]]:
    """The tensors of each block, in the order in which they are given."""
    found: dict[str, list[str]] = {}
    for name in tensors:
        found.setdefault(block_of(name), []).append(name)
    return found
