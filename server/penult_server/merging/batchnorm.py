"""Running statistics of BatchNorm, measured anew: they are functions of weights and data, and no weights."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch annotates its iterators over modules in part.

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.modules.batchnorm import _BatchNorm as BatchNormModule  # pyright: ignore[reportPrivateUsage]

from penult_proto.errors import ErrorKind
from penult_server.backbones.classifier import Classifier, memory_errors
from penult_server.backbones.inputs import SplitInputs
from penult_server.errors import ServiceError

Stream: TypeAlias = Literal["natural", "class", "group"]
BATCH = 64
COUNT = 2048


def drawn_rows(
    stream: Stream, y: NDArray[np.int64], g: NDArray[np.int64], *, count: int, seed: int
) -> NDArray[np.int64]:
    """Rows of a split in a seeded order: at most `count`, as frequent as they are, or equally many of each label.

    A class or group of fewer rows than its part is gone through again, each time in another order; those without a row
    have no part.
    """
    rng = np.random.default_rng(seed)
    if stream == "natural":
        return rng.permutation(len(y))[:count]
    labels = y if stream == "class" else g
    members = [np.flatnonzero(labels == one) for one in np.unique(labels)]
    parts = np.full(len(members), min(count, len(y)) // len(members))
    parts[: min(count, len(y)) - int(parts.sum())] += 1
    drawn: list[NDArray[np.int64]] = []
    for rows, part in zip(members, parts, strict=True):
        rounds = -(-int(part) // len(rows))
        drawn.append(np.concatenate([rng.permutation(rows) for _ in range(max(1, rounds))])[:part])
    return rng.permutation(np.concatenate(drawn))


def batches(rows: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """The rows in batches; a last one of under half the size is left out, unless it is the only one."""
    found = [rows[at : at + batch_size] for at in range(0, len(rows), batch_size)]
    if len(found) > 1 and 2 * len(found[-1]) < batch_size:
        found.pop()
    return found


@torch.inference_mode()
def reestimate(
    classifier: Classifier,
    inputs: SplitInputs,
    positions: Sequence[NDArray[np.int64]],
    *,
    device: torch.device,
    beat: Callable[[int], None],
) -> None:
    """Replace every running statistic by the mean over the batches of a batch's mean and unbiased variance.

    Everything but BatchNorm is in eval mode: dropout and stochastic depth change no statistic. `beat` is called with
    the number of batches done before each, and may raise.
    Raises ServiceError: INCOMPATIBLE_CHECKPOINTS for BatchNorm that tracks no statistics; OUT_OF_MEMORY.
    """
    classifier.module.eval()
    with _measuring(_modules(classifier)), memory_errors(len(positions[0])):
        for done, rows in enumerate(positions):
            beat(done)
            classifier.logits(classifier.preprocessing.to_batch(inputs.take(rows), device))
    classifier.module.eval()


def _modules(classifier: Classifier) -> list[BatchNormModule]:
    found = {name: one for name, one in classifier.module.named_modules() if isinstance(one, BatchNormModule)}
    without = [name for name, one in found.items() if one.running_mean is None]
    if without:
        raise ServiceError(
            ErrorKind.INCOMPATIBLE_CHECKPOINTS,
            f"{', '.join(without[:3])} of {classifier.name!r} keeps no running statistics, which could be measured; "
            "such a network is not merged",
            tensors=", ".join(without[:3]),
        )
    return list(found.values())


@contextmanager
def _measuring(modules: Sequence[BatchNormModule]) -> Generator[None]:
    """Cumulative means within the block; how fast statistics move is as it was afterwards."""
    momenta = [one.momentum for one in modules]
    try:
        for one in modules:
            one.reset_running_stats()
            one.momentum = None
            one.train()
        yield
    finally:
        for one, momentum in zip(modules, momenta, strict=True):
            one.momentum = momentum
            one.eval()
