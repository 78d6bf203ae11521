"""torch.save of a dict of tensors, read by torch with ``weights_only=True``, where torch is installed."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import pickle
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from penult.files.rows import AnyArray, Rows, in_memory, rows_at_once
from penult.files.source import Source, refused

_MEND = (
    'save tensors alone: torch.save({"features": x, "y": y}, path), or np.savez(path, features=x.numpy(), y=y.numpy())'
)


@contextmanager
def opened(place: Path) -> Generator[Source]:
    """The tensors of a dict, mapped into memory where the file allows it."""
    try:
        # By name: nothing in the client may depend on torch.
        torch = import_module("torch")
    except ImportError:
        raise ImportError(
            f"{place.name} is a file of torch, which is not installed here: convert it where it is, such as "
            "np.savez(path, features=x.numpy(), y=y.numpy())"
        ) from None
    content = _loaded(torch, place)
    if isinstance(content, torch.Tensor):
        content = {"features": content}
    if not isinstance(content, dict) or not any(isinstance(one, torch.Tensor) for one in content.values()):
        raise refused(place, f"it holds a {type(content).__name__}, not a dict of tensors", _MEND)
    arrays = {str(name): rows for name, one in content.items() if (rows := _rows(torch, one)) is not None}
    yield Source(place=place, arrays=arrays)


def _loaded(torch: Any, place: Path) -> Any:
    options = {"map_location": "cpu", "weights_only": True}
    try:
        try:
            return torch.load(place, mmap=True, **options)
        except RuntimeError:
            # The format before torch 1.6 is no zip and cannot be mapped.
            return torch.load(place, **options)
    except pickle.UnpicklingError as error:
        said = str(error).split("\n")[0][:200]
        raise refused(
            place, f"it holds other objects than tensors, which could run any code ({said})", _MEND
        ) from error


def _rows(torch: Any, value: Any) -> Rows | None:
    """A tensor, list of numbers or list of text as rows; None for anything else."""
    if isinstance(value, torch.Tensor):
        return _tensor(torch, value.detach())
    if isinstance(value, list) and value and all(isinstance(one, str | int | float) for one in value):
        return in_memory(np.asarray(value))
    return None


def _tensor(torch: Any, tensor: Any) -> Rows | None:
    """bfloat16 becomes float32, exactly; a sparse or quantised tensor is none."""
    if tensor.layout is not torch.strided or tensor.is_quantized or not tensor.ndim:
        return None
    is_half = tensor.dtype is torch.bfloat16
    dtype = np.dtype(np.float32) if is_half else tensor[:0].resolve_neg().resolve_conj().numpy().dtype
    step = rows_at_once(tuple(tensor.shape), dtype)

    def blocks() -> Iterator[AnyArray]:
        for at in range(0, len(tensor), step):
            block = tensor[at : at + step]
            yield (block.float() if is_half else block.resolve_neg().resolve_conj()).numpy()

    return Rows(dtype, tuple(tensor.shape), blocks)
