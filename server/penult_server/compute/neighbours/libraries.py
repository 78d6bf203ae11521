"""FAISS, which the compute worker alone imports, and only for indices: exact search needs none."""

import importlib
import logging
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from penult_kernels.products import n_threads
from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError

log = logging.getLogger("penult.compute")
DISTRIBUTIONS = ("faiss-cpu", "faiss-gpu")
"""Both install the module `faiss`, each over the files of the other, and pip does not notice."""


def installed_distributions() -> list[str]:
    """Which of them are installed, with their versions."""
    found: list[str] = []
    for name in DISTRIBUTIONS:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


def warn_of_libraries() -> None:
    """Write in the log, as the worker starts, if indices cannot be built although somebody meant them to be."""
    if len(installed_distributions()) > 1:
        log.warning("neighbours are found exactly only: %s", _why_not())


def import_faiss() -> Any:
    """The module, with the threads of this worker. Raises ServiceError (INVALID_ARGUMENT) where it cannot be had."""
    why = _why_not()
    if why:
        raise ServiceError(ErrorKind.INVALID_ARGUMENT, f"{why}; ask for recall=1, which needs no index", field="recall")
    faiss: Any = importlib.import_module("faiss")
    faiss.omp_set_num_threads(n_threads())
    return faiss


def _why_not() -> str:
    if platform.system() == "Darwin":
        return (
            "on macOS FAISS and PyTorch each bring an OpenMP of their own, and the process dies when both are in use: "
            "indices are built on Linux servers alone"
        )
    found = installed_distributions()
    if len(found) > 1:
        return f"{' and '.join(found)} are both installed, over each other's files: uninstall both, install one again"
    if not found:
        return (
            "this server has no FAISS, by which indices are built: in the checkout of penult pip install "
            "'.[neighbours-cpu]', or '.[neighbours-cuda]' on a GPU"
        )
    return ""
