"""What can be typed to ask for the same again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penult.options import Options
from penult.wire import decode

if TYPE_CHECKING:
    from penult.calls.job import Job

WIDEST = 100


def repeating(job: Job[Any]) -> str:
    """The call of the client that asks for a job again; empty for kinds whose request names files of a machine."""
    spec = job.spec
    match spec.WhichOneof("kind"):
        case "finetune":
            return call("finetune", decode.finetune_spec(spec.finetune).arguments())
        case "extract":
            return call(
                "extract",
                {
                    "": spec.extract.checkpoint,
                    "splits": list(spec.extract.splits),
                    "dataset": spec.extract.dataset,
                    "dtype": spec.extract.dtype,
                },
            )
        case "merge":
            return call(
                "merge", {"": [parent.checkpoint for parent in spec.merge.parents], "method": spec.merge.method}
            )
        case _:
            return ""


def call(method: str, arguments: dict[str, Any]) -> str:
    """A call of the client in Python; arguments that are empty are left out, and "" names the first."""
    given = [
        _written(value) if not name else f"{name}={_written(value)}"
        for name, value in arguments.items()
        if value not in ("", [], None)
    ]
    in_one_line = f"client.{method}({', '.join(given)})"
    if len(in_one_line) <= WIDEST:
        return in_one_line
    return f"client.{method}(\n    " + ",\n    ".join(given) + ",\n)"


def _written(value: object) -> str:
    """A value as Python has it; options are those of the package."""
    return f"penult.{value!r}" if isinstance(value, Options) else repr(value)
