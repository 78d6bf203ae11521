"""Every random number of a run is a function of its seed and of the step it belongs to.

So there is no state of a generator to keep: a run that is resumed at a step draws the same numbers as one that was
never stopped, whatever had been drawn ahead of time before.
"""

# pyright: reportUnknownMemberType=false
# torch annotates its random state in part.

from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What the numbers are for. A number of this list is never given another meaning."""

    ORDER = 1
    """Order of the examples of an epoch; position: epoch."""
    AUGMENTATION = 2
    """Augmentation of the examples of a step; position: step."""
    MODEL = 3
    """Dropout and other draws of a model; positions: step, process, micro-batch."""


def generator(seed: int, stream: Stream, *position: int) -> np.random.Generator:
    """The generator of one stream at one position."""
    return np.random.default_rng([seed, int(stream), *position])


def seed_model(device: torch.device, seed: int, *position: int) -> None:
    """Seed torch's global generators, the only source that dropout knows, for one forward pass.

    For use inside `reproducible`, which puts their states back.
    """
    drawn = np.random.SeedSequence([seed, int(Stream.MODEL), *position]).generate_state(1, np.uint64)
    # `torch.manual_seed` would seed every GPU, and only this device's state is put back.
    torch.default_generator.manual_seed(int(drawn[0]))
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(int(drawn[0]))
