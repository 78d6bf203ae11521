"""The arguments of `Client.finetune` as options: their names, types and help are the client's own."""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_type_hints

import click

from penult.calls.finetuning import Finetuning
from penult.cli.stored.collections import asked
from penult.cli.work.grouped import Setting, grouped, known_options, nested
from penult.cli.work.types import is_list, type_of
from penult.wire.finetune_arguments import FinetuneArguments
from penult_proto.fields.finetune import GROUPS

F = TypeVar("F", bound=Callable[..., Any])
ONE_OF = {"tags": "tag", "evaluate": "evaluate"}
"""Options that are repeated, named by one of their values."""
OWN_HELP = {
    "pretrained": "Start from pretrained weights, or from random ones.  [default: pretrained]",
    "name": "Of the run, to find it by. One that another run has moves here when this one has ended.",
    "tags": "Of the run, to find it by.",
    "note": "Of the run, for people.",
}
"""Help of options that the sentences of the Python argument do not fit."""


def finetune_options(command: F) -> F:
    """Give a command an option for every argument of `finetune`, and --set for those in groups."""
    hints = get_type_hints(FinetuneArguments)
    said = sentences(Finetuning.finetune) | OWN_HELP
    settings = click.option(
        "--set",
        "settings",
        type=Setting(),
        multiple=True,
        help=f"An option of a topic, such as optimizer.learning_rate=1e-4; may be repeated. {_topics()}",
    )
    command = settings(command)
    for name in reversed([name for name in hints if name not in GROUPS]):
        command = _option(name, hints[name], said.get(name, ""))(command)
    return command


def sentences(call: Callable[..., Any]) -> dict[str, str]:
    """The first sentence on each parameter in a docstring."""
    text = inspect.getdoc(call) or ""
    _, _, after = text.partition("Parameters\n----------\n")
    parameters = re.split(r"\n\n\w+\n-+\n", after)[0]
    found: dict[str, str] = {}
    for names, described in re.findall(r"^(\w[\w, ]*) : (.*(?:\n +.*)*)", parameters, flags=re.MULTILINE):
        whole = " ".join(described.split())
        first = re.split(r"(?<=[.]) (?=[A-Z`\"])", whole)[0]
        plain = re.sub(r"`(?:penult\.)?(\w+)`", r"\1", first).replace("``", "")
        for name in names.split(", "):
            found[name] = plain[0].upper() + plain[1:]
    return found


def _topics() -> str:
    return "; ".join(f"{argument}: {', '.join([*_classes(argument), *known_options(argument)])}" for argument in GROUPS)


def _classes(argument: str) -> list[str]:
    kinds = GROUPS[argument]
    return [f"class ({', '.join(kinds)})"] if len(kinds) > 1 else []


def _option(name: str, hint: Any, said: str) -> Callable[[F], F]:
    dashed = name.replace("_", "-")
    if is_list(hint):
        return click.option(f"--{ONE_OF[name]}", name, multiple=True, help=f"{said} May be repeated.")
    kind = type_of(hint)
    if kind is click.BOOL:
        return click.option(f"--{dashed}/--no-{dashed}", name, default=None, help=said)
    return click.option(f"--{dashed}", name, type=kind, help=said)


def arguments_of(settings: tuple[tuple[str, Any], ...], options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `finetune` that a command line asks for. Raises `InvalidRequest`."""
    plain = asked(options)
    return plain | joined(nested(settings), plain.get("recipe"))


def joined(topics: Mapping[str, Mapping[str, Any]], recipe: Any) -> dict[str, Any]:
    """Options by their topic, as the objects that `finetune` takes. Raises `InvalidRequest`."""
    return {argument: grouped(argument, given, recipe) for argument, given in topics.items()}
