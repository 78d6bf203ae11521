"""The state of a training between two steps: all that a run needs to resume as if it had never stopped.

One safetensors file: weights and buffers under ``model.``, the optimiser's tensors under ``optimizer.``, those of the
objective under ``objective.``; step, history and the rest as JSON in the file's own header. The learning rate and all
random numbers are functions of the step (see `randomness`), so the step stands for schedule, generators and
position in the data.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch's optimiser state and safetensors' tensors are annotated in part.

import json
import sys
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from penult_server.finetuning.history import record_from_json, record_to_json
from penult_server.machine.disks import is_of_disk
from penult_server.progress import MetricsRecord
from penult_server.stores.disk.durable import staged_file
from penult_server.stores.disk.sealed import SEAL, sealed_text, unsealed

FORMAT = 3
"""Format of the state; raised when states of older releases can no longer be resumed. 3: the header has a digest."""
UNSEALED = 2
"""Format of the last states without one, which are resumed still."""
OVERHEAD = 50.0
"""Least time between two savings, as a multiple of the time that the first took, where `save_every` is 0."""
LEAST_SECONDS = 30.0
"""Least seconds between two savings within an epoch, where `save_every` is 0."""


@dataclass(slots=True, kw_only=True)
class TrainingProgress:
    """How far a run is, and its checkpoints, metrics and times so far."""

    step: int = 0
    train_seconds: float = 0.0
    """Seconds of the training steps alone."""
    checkpoints: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    """Steps and digests of those that the run still needs."""
    n_stored: int = 0
    """Number of checkpoints stored, those that it no longer needs among them."""
    history: list[MetricsRecord] = field(default_factory=list[MetricsRecord])
    resumed_at: list[int] = field(default_factory=list[int])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """The things whose tensors make up the state. They are read and written in place."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    objective: Mapping[str, Tensor]
    """Tensors that the objective carries from step to step, by name."""
    scaler: torch.amp.GradScaler
    """Scaler of float16's losses; without state where it is not used."""


class SavingTimes:
    """When the training state is saved: at fixed steps, or so that it costs little."""

    def __init__(self, save_every: int) -> None:
        """`save_every`: steps, besides the end of every epoch; 0 lets times decide."""
        self._save_every = save_every
        self._last = time.monotonic()
        self._cost = 0.0

    def is_due(self, step: int, *, ends_epoch: bool) -> bool:
        """Whether to save after this step."""
        if self._save_every:
            return ends_epoch or step % self._save_every == 0
        passed = time.monotonic() - self._last
        return passed >= OVERHEAD * self._cost and (ends_epoch or passed >= LEAST_SECONDS)

    def note(self, started: float) -> None:
        """A saving that began at `started` (of the monotonic clock) is done."""
        self._last = time.monotonic()
        self._cost = self._last - started


def save_state(path: Path, trained: Trained, progress: TrainingProgress, identity: str) -> None:
    """Replace the state file in one step that survives a power cut.

    `identity` says which run it belongs to: a state of another configuration, dataset or format is never resumed.
    """
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in _tensors(trained).items()}
    header = {
        "format": FORMAT,
        "identity": identity,
        "checksums": {name: _checksum(tensor) for name, tensor in tensors.items()},
        "scaler": trained.scaler.state_dict(),
        "progress": _progress_to_json(progress),
    }
    with staged_file(path) as staging:
        save_file(tensors, staging, metadata={"state": sealed_text(header, indent=None)})


def load_state(
    path: Path, trained: Trained, identity: str, is_stored: Callable[[str], bool]
) -> TrainingProgress | None:
    """Put a saved state in place and say how far it was; None (nothing touched) when there is none to resume from.

    A damaged file is not resumed from either, nor one that counts on checkpoints that `is_stored` does not know by
    their digests: the run starts again and ends with the same weights. Raises OSError or SafetensorError where the
    disk fails: the state may be whole.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = _header(file.metadata()["state"])
            if header["format"] not in (FORMAT, UNSEALED) or header["identity"] != identity:
                return None
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, TypeError, KeyError, OSError) as error:
        if is_of_disk(error):
            raise
        sys.stderr.write(f"the training state cannot be read, the run starts again: {error}\n")
        return None
    if {name: _checksum(tensor) for name, tensor in tensors.items()} != header["checksums"]:
        sys.stderr.write("the training state is damaged, the run starts again\n")
        return None
    progress = _progress_from_json(header["progress"])
    if not all(is_stored(digest) for _, digest in progress.checkpoints):
        sys.stderr.write("checkpoints of the training state were deleted, the run starts again\n")
        return None
    _restore(trained, tensors)
    if header["scaler"]:
        trained.scaler.load_state_dict(header["scaler"])
    return progress


def _header(text: str) -> dict[str, Any]:
    """What a state says of itself. Raises ValueError and KeyError for what is not as it was written."""
    header: dict[str, Any] = json.loads(text)
    if header["format"] == UNSEALED and SEAL not in header:
        return header
    return unsealed(header)


def _tensors(trained: Trained) -> dict[str, Tensor]:
    """All tensors by their names in the file; a tensor with several names stands under the first."""
    found = {f"model.{name}": tensor for name, tensor in _own_tensors(trained.module).items()}
    for index, parameter in enumerate(_parameters(trained.optimizer)):
        for key, value in trained.optimizer.state[parameter].items():
            if isinstance(value, Tensor):
                found[f"optimizer.{index}.{key}"] = value
    return found | {f"objective.{name}": tensor for name, tensor in trained.objective.items()}


def _own_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, each once: tied weights have one name here."""
    return dict(module.named_parameters()) | dict(module.named_buffers())


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


@torch.no_grad()
def _restore(trained: Trained, tensors: Mapping[str, Tensor]) -> None:
    """Copy into what is there, so that types, devices and memory orders stay as they are."""
    for name, tensor in _own_tensors(trained.module).items():
        tensor.copy_(tensors[f"model.{name}"])
    for name, tensor in trained.objective.items():
        tensor.copy_(tensors[f"objective.{name}"])
    parameters = _parameters(trained.optimizer)
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            index, _, key = rest.partition(".")
            parameter = parameters[int(index)]
            trained.optimizer.state[parameter][key] = _like(parameter, tensor)


def _like(parameter: nn.Parameter, tensor: Tensor) -> Tensor:
    """An optimiser's tensor on the parameter's device and, for one of its shape, in its memory order.

    Fused optimisers walk through the memory of both: in another order they would mix elements up.
    """
    if tensor.shape == parameter.shape:
        return torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)
    return tensor.to(parameter.device)


def _checksum(tensor: Tensor) -> int:
    return zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data) if tensor.numel() else 0


def _progress_to_json(progress: TrainingProgress) -> dict[str, Any]:
    values = {one.name: getattr(progress, one.name) for one in fields(TrainingProgress)}
    return values | {"history": [record_to_json(one) for one in progress.history]}


def _progress_from_json(content: dict[str, Any]) -> TrainingProgress:
    return TrainingProgress(
        step=content["step"],
        train_seconds=content["train_seconds"],
        checkpoints=[(step, digest) for step, digest in content["checkpoints"]],
        n_stored=content["n_stored"],
        history=[record_from_json(one) for one in content["history"]],
        resumed_at=content["resumed_at"],
    )
