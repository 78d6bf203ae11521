"""Which arrays the compute worker works on: CuPy where there is a usable GPU, NumPy elsewhere."""

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError


@dataclass(frozen=True, slots=True)
class Backend:
    """An array namespace, and how arrays are copied to and from its device."""

    xp: Any
    name: str
    """ "numpy" or "cupy"."""
    device: str
    """ "cpu", or the name of the GPU."""
    sharers: int = 1
    """Compute workers that share the memory of the device, this one included."""

    def to_device(self, array: NDArray[Any]) -> Any:
        """The array on the device."""
        return self.xp.asarray(array)

    def to_host(self, array: Any) -> NDArray[Any]:
        """The array as NumPy's."""
        return array.get() if self.name == "cupy" else np.asarray(array)


def choose_backend(device: str, sharers: int = 1) -> Backend:
    """The backend for "auto", "cpu" or "cuda", whose memory so many workers share.

    Raises ServiceError (INVALID_ARGUMENT) when "cuda" is asked for and cannot be had.
    """
    if device != "cpu":
        try:
            # CuPy's own functions take no `device`, as the standard and the kernels have it.
            cupy: Any = importlib.import_module("array_api_compat.cupy")
        except ImportError:
            cupy = None
        if cupy is not None and cupy.cuda.is_available():
            name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
            return Backend(cupy, "cupy", name, sharers)
        if device == "cuda":
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                "--device cuda needs an NVIDIA GPU and CuPy (from a checkout of penult: pip install '.[cuda13]'); "
                "use --device cpu without",
            )
    return Backend(np, "numpy", "cpu", sharers)
