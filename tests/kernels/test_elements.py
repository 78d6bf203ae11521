"""Functions of elements on arrays and in CUDA: one signature, and equal results where the source runs on the CPU."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest
from cupy_backends.cuda.libs import nvrtc
from test_cuda_sources import SHIM

from penult_kernels.arrays import to_host
from penult_kernels.linear import elements
from penult_kernels.linear.elements import ALL, SMALLEST_NEW, Elementwise, source
from penult_kernels.linear.line_search import OVERSHOOT

TYPES = {"float": np.float32, "double": np.float64}


def wrapped(function: Elementwise) -> str:
    """A kernel for each type that applies a function to arrays, element by element."""
    names = (*function.inputs, *function.outputs)
    text = ""
    for kind in TYPES:
        given = ", ".join(f"const {kind}* {name}" for name in function.inputs)
        made = ", ".join(f"{kind}* {name}" for name in function.outputs)
        text += f'extern "C" __global__ void {function.name}_{kind}({given}, {made}, int n) {{\n'
        text += "  for (int k = 0; k < n; ++k)\n"
        text += f"    {function.name}<{kind}>({', '.join(f'{name}[k]' for name in names)});\n}}\n"
    return text


WHOLE = source() + "".join(map(wrapped, ALL))


@pytest.mark.parametrize("architecture", ["80", "90"])
def test_the_source_compiles(architecture):
    program = nvrtc.createProgram(WHOLE, "elements.cu", (), ())
    nvrtc.compileProgram(program, ("--std=c++17", f"-arch=sm_{architecture}"))
    assert len(nvrtc.getCUBIN(program)) > 1000


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory):
    """The kernels as functions of the CPU."""
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    folder = tmp_path_factory.mktemp("elements")
    (folder / "elements.cpp").write_text(WHOLE)
    command = ["g++", "-std=c++17", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-include", str(SHIM)]
    subprocess.run([*command, str(folder / "elements.cpp"), "-o", str(folder / "elements.so")], check=True)
    return ctypes.CDLL(str(folder / "elements.so"))


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("function", ALL, ids=lambda one: one.name)
def test_the_source_computes_what_arrays_do(on_cpu, rng, function, kind):
    dtype = TYPES[kind]
    given = [(10.0 ** rng.uniform(-6, 1, 400) * rng.choice([-1, 1], 400)).astype(dtype) for _ in function.inputs]
    if function is elements.new_direction:
        given = [abs(one) for one in given]
        given[0][::7] *= dtype(1e-12)
        given[0][::11] = 0
    if function is elements.binary_step:
        given[0][:6] = [0, 200, -200, 88, -88, 1e5]
    if function is elements.gap:
        given[3] = abs(given[3])
        given[2] = abs(given[2])
        given[4][::2] = 0
    found = [np.full(400, np.nan, dtype) for _ in function.outputs]
    pointers = [one.ctypes.data_as(ctypes.c_void_p) for one in (*given, *found)]
    getattr(on_cpu, f"{function.name}_{kind}")(*pointers, ctypes.c_int(400))
    expected = function(*given)
    assert len(expected) == len(found)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=40 * np.finfo(dtype).eps, atol=10 * np.finfo(dtype).eps)
        assert np.isfinite(one).all()


def test_arguments_are_broadcast(backend, rng):
    logits, length = rng.standard_normal((3, 1, 5)), rng.random((1, 4, 1))
    given = [logits, logits, length, np.ones((3, 1, 5)), np.ones((3, 1, 5))]
    for found, expected in zip(
        elements.binary_step(*map(backend.array, given)), elements.binary_step(*given), strict=True
    ):
        assert found.shape == (3, 4, 5)
        np.testing.assert_allclose(to_host(found), expected, rtol=1e-14)


def test_numbers_that_the_source_repeats():
    assert f"T({OVERSHOOT})" in source()
    assert f"T({SMALLEST_NEW})" in source()


def test_a_step_that_is_near_enough_is_taken():
    derivative, stiffness = np.asarray([-1.0, -1.0, 1.0]), np.asarray([0.0, 3.0, 0.0])
    (found,) = elements.trial(np.asarray([-0.5, -0.5, 1.0]), derivative, derivative, stiffness, np.ones(3))
    assert found.tolist() == [1.0, 0.0, 0.0]
    (nothing,) = elements.trial(np.asarray([np.nan]), *(np.ones(1),) * 4)
    assert nothing.tolist() == [0.0]
