"""What the client's code takes from its own `finetune`: part of ``penult_proto.generate``.

``finetune_arguments.py`` has the arguments of a finetuning as a dictionary, ``finetune_spec.py`` the record of what was
used: both from the signature of `Client.finetune`.
"""

import ast
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

CLIENT = Path(__file__).resolve().parents[2] / "client" / "penult"
ALWAYS_SAID = ("balance", "epochs", "pretrained", "seed")
"""Arguments that have an effect on every run."""
DOCS = {"repeat_errors_of": "Digest of a checkpoint.", "evaluate": "Empty for all."}
ARGUMENTS = '''"""The arguments of a finetuning as a dictionary. Made by ``python -m penult_proto.generate``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict

from penult.records import Checkpoint, Dataset
{types}


class FinetuneArguments(TypedDict, total=False):
    """The arguments of `Client.finetune`, as one request of `Client.finetunes`; None leaves one out."""

{fields}
'''
SPEC = '''"""What a finetuning was asked for. Made by ``python -m penult_proto.generate``."""

from dataclasses import dataclass, fields
from typing import Any, Literal

{types}


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneSpec:
    """A finetuning recipe; the fields are the arguments of `Client.finetune`.

    What was left out has the server's default; None has what could have no effect, such as the momentum of AdamW.
    """

{fields}

    def arguments(self) -> dict[str, Any]:
        """The arguments of `Client.finetune` that ask for this again: ``client.finetune(**spec.arguments())``."""
        values = {{field.name: getattr(self, field.name) for field in fields(self)}}
        return {{name: value for name, value in values.items() if value is not None and value != ()}}
'''


def finetune_signature(source: str) -> dict[str, str]:
    """Types of the arguments of `Client.finetune`, as they are written."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    named = next(one.args.kwonlyargs for one in functions if one.name == "finetune")
    kinds = {one.arg: ast.unparse(one.annotation).replace("'", '"') for one in named if one.annotation is not None}
    return {name: kind for name, kind in kinds.items() if name != "timeout"}


def spec_type(name: str, kind: str) -> str:
    """The type of an argument in the record of what was used."""
    if name in ("dataset", "backbone", "attribute"):
        return "str"
    bare = kind.removesuffix(" | None")
    if bare.startswith("Sequence["):
        return f"tuple[{bare.removeprefix('Sequence[').removesuffix(']')}, ...]"
    if name in ALWAYS_SAID:
        return bare
    return "str | None" if "str" in bare.split(" | ") else kind


def module(template: str, kinds: Mapping[str, str], docs: Mapping[str, str]) -> str:
    """The text of a module whose class has these fields."""
    lines: list[str] = []
    for name, kind in kinds.items():
        lines.append(f"    {name}: {kind}")
        if name in docs:
            lines.append(f'    """{docs[name]}"""')
    return template.format(types=_types(kinds.values()), fields="\n".join(lines))


def _types(kinds: Iterable[str]) -> str:
    """The import of the names of choices: those that are neither builtin nor imported by the template itself."""
    words = {word for kind in kinds for word in re.findall(r"[A-Z]\w+", kind)}
    names = sorted(words - {"None", "Literal", "Sequence", "Path", "Checkpoint", "Dataset"})
    return "\n".join(["from penult.types import (", *(f"    {name}," for name in names), ")"])


def generate_finetuning(out: Path = CLIENT) -> None:
    """Write the modules into the directory `out`."""
    kinds = finetune_signature((CLIENT / "client.py").read_text(encoding="utf-8"))
    spec_kinds = {name: spec_type(name, kind) for name, kind in kinds.items()}
    (out / "finetune_arguments.py").write_text(module(ARGUMENTS, kinds, {}), encoding="utf-8")
    (out / "finetune_spec.py").write_text(module(SPEC, spec_kinds, DOCS), encoding="utf-8")


if __name__ == "__main__":
    generate_finetuning()
