"""Regenerate the committed code: ``python -m penult_proto.generate``.

It writes the Python code beside the ``.proto`` files, and the client's modules that follow from them and from the
client's own signatures (`penult_proto.generate_client`, `penult_proto.generate_finetuning`).

The include root is the directory above this package, so that generated code imports itself by its
absolute name and nothing has to be rewritten afterwards.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from grpc_tools import protoc  # pyright: ignore[reportMissingTypeStubs]

ROOT = Path(__file__).resolve().parent.parent


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


if __name__ == "__main__":
    generate(ROOT)
    # In processes of their own, which import the code that has just been made.
    for module in ("penult_proto.generate_client", "penult_proto.generate_finetuning"):
        subprocess.run([sys.executable, "-m", module], cwd=ROOT, check=True)
