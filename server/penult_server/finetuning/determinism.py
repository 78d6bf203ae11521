"""Deterministic training for a block of code: the same seed gives the same weights."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportAttributeAccessIssue=false
# The module of torch's memory setting replaces itself by an object without types.

from collections.abc import Generator
from contextlib import contextmanager

import torch
import torch.utils.deterministic as torch_memory

from penult_server.backbones.model import seeded


@contextmanager
def reproducible(device: torch.device) -> Generator[None]:
    """Run the block with deterministic algorithms, then restore torch's global state and generators.

    The block seeds the generators itself, step by step (see `randomness`).

    An operation that has no deterministic form on a GPU warns and runs all the same.
    """
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch_memory.fill_uninitialized_memory,
    )
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling fresh memory finds bugs in operators; it would cost every step a pass over its tensors.
    torch_memory.fill_uninitialized_memory = False
    try:
        with seeded(0, device):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch_memory.fill_uninitialized_memory = before[2]
