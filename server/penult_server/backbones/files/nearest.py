"""Which architectures of timm have the tensors of a file."""

# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false
# timm's factory functions are untyped.

import re
from collections.abc import Mapping

import timm
import torch
from torch import Tensor

MOST_TRIED = 24
"""Most architectures that are built, on the meta device, to compare names."""
MOST_NAMED = 5


def nearest_architectures(given: Mapping[str, Tensor], *, like: str) -> list[str]:
    """The architectures of a name's family that share the most tensors with a file, best first; none that shares less
    than two thirds of them."""
    family = re.split(r"[\d_.]", like.removeprefix("timm/"), maxsplit=1)[0]
    names = [name for name in timm.list_models(f"{family}*") if name != like][:MOST_TRIED]
    shapes = {(name, tuple(tensor.shape)) for name, tensor in given.items()}
    shared: dict[str, int] = {}
    for name in names:
        try:
            with torch.device("meta"):
                state = timm.create_model(name).state_dict()
        except (RuntimeError, NotImplementedError, ValueError):  # an architecture that cannot be built without values
            continue
        shared[name] = len(shapes & {(key, tuple(tensor.shape)) for key, tensor in state.items()})
    best = sorted(shared, key=lambda name: -shared[name])[:MOST_NAMED]
    return [name for name in best if shared[name] * 3 >= len(shapes) * 2]
