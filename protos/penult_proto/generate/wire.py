"""The Python code beside the ``.proto`` files.

The include root is the directory above `penult_proto`, so that generated code imports itself by its
absolute name and nothing has to be rewritten afterwards.
"""

import os
import shutil
import sys
from pathlib import Path

from grpc_tools import protoc  # pyright: ignore[reportMissingTypeStubs]

ROOT = Path(__file__).resolve().parents[2]


def generate(out: Path) -> None:
    """Write ``penult_proto/v1/*_pb2*.py`` and their type stubs under the directory `out`.

    Raises RuntimeError when protoc refuses a file.
    """
    well_known = Path(protoc.__file__).parent / "_proto"
    sources = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("penult_proto/v1/*.proto"))
    plugins = [
        f"--plugin={name}={shutil.which(name, path=scripts_path())}"
        for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
    ]
    arguments = ["protoc", f"-I{ROOT}", f"-I{well_known}", *plugins]
    arguments += [f"--{kind}_out={out}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    if protoc.main([*arguments, *sources]) != 0:  # pyright: ignore[reportUnknownMemberType]
        raise RuntimeError("protoc failed; its message is above")


def scripts_path() -> str:
    """Where the plugins are looked for: beside the running interpreter, then on the PATH."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
