"""Every array function that the kernels call exists in each array library they promise to run on."""

import ast
import importlib
import inspect
import sys
from pathlib import Path

import cupy
import pytest

import penult_kernels

PACKAGE = Path(penult_kernels.__file__).parent
LIBRARIES = ("array_api_strict", "array_api_compat.cupy", "array_api_compat.numpy")


def dotted(node: ast.expr) -> str:
    """Name of a chain of attributes, "" when it is something else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (owner := dotted(node.value)):
        return f"{owner}.{node.attr}"
    return ""


def names_used() -> set[str]:
    """NAME and linalg.NAME of every xp.NAME and xp.linalg.NAME, and of what is called on a namespace directly."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Attribute):
                continue
            if dotted(node).startswith("xp."):
                found.add(dotted(node).removeprefix("xp."))
            elif (
                isinstance(node.value, ast.Call)
                and isinstance(node.value.func, ast.Name)
                and node.value.func.id == "array_namespace"
            ):
                found.add(node.attr)
    return found - {"linalg"}


def test_the_collector_sees_what_is_there():
    assert {"astype", "sum", "linalg.eigvalsh", "linalg.solve", "asarray"} <= names_used()


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_function_exists(library: str):
    namespace = importlib.import_module(library)
    missing = []
    for name in sorted(names_used()):
        owner = namespace
        for part in name.split("."):
            owner = getattr(owner, part, None)
        if owner is None:
            missing.append(name)
    assert missing == []


def names_given_a_device() -> set[str]:
    """NAME of every call xp.NAME(..., device=...)."""
    calls = [node for path in PACKAGE.rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    return {
        dotted(call.func).removeprefix("xp.")
        for call in calls
        if isinstance(call, ast.Call) and any(keyword.arg == "device" for keyword in call.keywords)
        if dotted(call.func).startswith("xp.")
    }


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_function_takes_the_device_it_is_given(library: str):
    namespace = importlib.import_module(library)
    names = names_given_a_device()
    assert {"empty", "zeros", "asarray", "eye"} <= names
    refuse = [name for name in names if "device" not in inspect.signature(getattr(namespace, name)).parameters]
    assert refuse == []


def test_plain_cupy_would_not_do():
    refuse = [
        name for name in names_given_a_device() if "device" not in inspect.signature(getattr(cupy, name)).parameters
    ]
    assert "empty" in refuse


def test_no_module_imports_an_array_library_but_numpy():
    allowed = {"numpy", "array_api_compat", "penult_kernels"}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            else:
                continue
            roots = {module.partition(".")[0] for module in modules}
            assert roots <= allowed | sys.stdlib_module_names, path.name
