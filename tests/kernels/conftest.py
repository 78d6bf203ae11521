"""Backends that every kernel must run on, and arrays on them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import array_api_compat.cupy
import array_api_strict
import cupy
import numpy as np
import pytest
from array_api_compat import array_namespace
from numpy.typing import ArrayLike

HAS_GPU = bool(cupy.cuda.is_available())


@dataclass(frozen=True)
class Backend:
    """A library and a device of it."""

    xp: Any
    device: Any

    def array(self, values: ArrayLike) -> Any:
        """`values` on this backend; a NumPy array must not be written to."""
        host = np.array(values)
        host.flags.writeable = False
        return host if self.xp is np else self.xp.asarray(host, device=self.device)

    def owns(self, values: Any) -> bool:
        """Whether an array lives here."""
        return array_namespace(values) is array_namespace(self.array([0.0])) and values.device == self.device


def _cupy() -> Backend:
    return Backend(array_api_compat.cupy, cupy.cuda.Device(0))


BACKENDS: dict[str, Callable[[], Backend]] = {
    "numpy": lambda: Backend(np, "cpu"),
    "strict-cpu": lambda: Backend(array_api_strict, array_api_strict.Device("CPU_DEVICE")),
    "strict-device1": lambda: Backend(array_api_strict, array_api_strict.Device("device1")),
    "cupy": _cupy,
}


@pytest.fixture(
    params=[
        pytest.param(
            name,
            marks=[pytest.mark.gpu, pytest.mark.skipif(not HAS_GPU, reason="no CUDA device")] if name == "cupy" else [],
        )
        for name in BACKENDS
    ]
)
def backend(request: pytest.FixtureRequest) -> Backend:
    """One array library and device."""
    return BACKENDS[request.param]()


@pytest.fixture
def rng() -> np.random.Generator:
    """A fresh generator with a fixed seed."""
    return np.random.default_rng(20240718)
