"""CUDA sources without a GPU: compiled for two architectures, and run on the CPU thread by thread."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from cupy_backends.cuda.libs import nvrtc

import penult_kernels
from penult_kernels.moments.centering import center_rows

SOURCES = [
    path
    for path in sorted((Path(penult_kernels.__file__).parent / "cuda").glob("*.cu"))
    # Functions without a kernel of their own: test_elements.py.
    if path.stem != "elements"
]
SHIM = Path(__file__).parent / "cuda_on_cpu.h"
TYPES = {"float32": np.float32, "float64": np.float64}


class Index3(ctypes.Structure):
    _fields_ = [(axis, ctypes.c_uint) for axis in "xyz"]


def test_there_are_sources():
    assert [path.name for path in SOURCES] == ["center_rows.cu"]


@pytest.mark.parametrize("architecture", ["80", "90"])
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_sources_compile(source, architecture):
    """By NVRTC itself: CuPy's own wrapper of it asks which device there is."""
    options = ("--std=c++17", f"-arch=sm_{architecture}")
    program = nvrtc.createProgram(source.read_text(), source.name, (), ())
    nvrtc.compileProgram(program, options)
    assert len(nvrtc.getCUBIN(program)) > 1000
    broken = nvrtc.createProgram(source.read_text() + "nonsense", source.name, (), ())
    with pytest.raises(nvrtc.NVRTCError):
        nvrtc.compileProgram(broken, options)


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory):
    """The kernels as functions of the CPU."""
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    library = tmp_path_factory.mktemp("cuda") / "center_rows.so"
    command = ["g++", "-std=c++17", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-include", str(SHIM)]
    subprocess.run([*command, "-x", "c++", str(SOURCES[0]), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def launch(library, name, grid, block, *arguments):
    """Call a kernel for every thread of every block, as a launch would."""
    kernel = getattr(library, name)
    index = {field: Index3.in_dll(library, field) for field in ("threadIdx", "blockIdx", "blockDim", "gridDim")}
    index["gridDim"].x, index["gridDim"].y = grid
    index["blockDim"].x, index["blockDim"].y = block
    for block_place in np.ndindex(grid):
        for thread_place in np.ndindex(block):
            index["blockIdx"].x, index["blockIdx"].y = block_place
            index["threadIdx"].x, index["threadIdx"].y = thread_place
            kernel(*arguments)


@pytest.mark.parametrize("stored", TYPES)
@pytest.mark.parametrize("product", TYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("grid", "block"), [((3, 2), (4, 2)), ((1, 1), (16, 1)), ((2, 9), (8, 3))])
def test_kernel_equals_arrays(on_cpu, rng, stored, product, weighted, grid, block):
    rows = (rng.standard_normal((13, 10)) + 1e6).astype(TYPES[stored])
    mean = rows.mean(axis=0, dtype=np.float64)
    roots = rng.random(13) if weighted else None
    found, expected = np.full((13, 10), np.nan, TYPES[product]), np.empty((13, 10), TYPES[product])
    pointers = [
        None if array is None else array.ctypes.data_as(ctypes.c_void_p) for array in (rows, mean, roots, found)
    ]
    launch(
        on_cpu,
        f"center_rows_{stored}_{product}",
        grid,
        block,
        *pointers,
        ctypes.c_longlong(13),
        ctypes.c_longlong(10),
    )
    center_rows(rows, mean, roots, expected)
    rounding = np.finfo(TYPES[product]).eps
    np.testing.assert_allclose(found, expected, rtol=4 * rounding, atol=4 * rounding)
