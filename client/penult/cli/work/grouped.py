"""Options of `finetune` by topic as dotted names: ``optimizer.learning_rate=1e-4``, ``optimizer.class=SGD``.

Names, types and classes are those of ``penult.options``. A class that is not named is the recipe's, else the default's,
or where that does not have the options, the first that has them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, get_type_hints

import click

from penult import options
from penult.arguments.coerce import check_choice
from penult.cli.work.types import type_of
from penult.errors import invalid
from penult.results.records import Checkpoint
from penult_proto.fields.finetune import GROUPS, chosen
from penult_proto.recipes import RECIPES
from penult_proto.v1 import runs_pb2

CLASS = "class"
"""The name under which a class of options is chosen."""


def options_of(name: str) -> dict[str, Any]:
    """The options of a class, and their types."""
    kind = getattr(options, name)
    hints = get_type_hints(kind, localns={"Checkpoint": Checkpoint})
    return {field.name: hints[field.name] for field in fields(kind)}


def known_options(argument: str) -> dict[str, Any]:
    """Every option of a topic, and its type; without the choice of the class."""
    return {name: hint for kind in GROUPS[argument] for name, hint in options_of(kind).items()}


def known_names() -> list[str]:
    """Every dotted name."""
    return [f"{argument}.{option}" for argument in GROUPS for option in (*_choice(argument), *known_options(argument))]


def _choice(argument: str) -> tuple[str, ...]:
    return (CLASS,) if len(GROUPS[argument]) > 1 else ()


class Setting(click.ParamType[tuple[str, Any]]):
    """``TOPIC.OPTION=VALUE``, the value of the option's type."""

    name = "TOPIC.OPTION=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value  # pyright: ignore[reportUnknownVariableType]  converted before
        name, equals, written = str(value).partition("=")
        known = known_names()
        if not equals or name not in known:
            self.fail(f"expected {self.name}; {name!r} is none of {', '.join(known)}", param, ctx)
        argument, _, option = name.partition(".")
        if option == CLASS:
            return name, click.Choice(list(GROUPS[argument])).convert(written, param, ctx)
        return name, type_of(known_options(argument)[option]).convert(written, param, ctx)


def nested(settings: Iterable[tuple[str, Any]]) -> dict[str, dict[str, Any]]:
    """Dotted names as options by their topic; the last of several with one name counts."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in settings:
        argument, _, option = name.partition(".")
        found.setdefault(argument, {})[option] = value
    return found


def grouped(argument: str, given: Mapping[str, Any], recipe: str | None) -> options.Options:
    """The options of a topic. Raises `InvalidRequest`, listing what there is."""
    rest = dict(given)
    known = known_options(argument)
    if CLASS in rest:
        name = rest.pop(CLASS)
        check_choice(f"{argument}.{CLASS}", name, list(GROUPS[argument]))
    else:
        of = RECIPES[recipe].request if recipe is not None and recipe in RECIPES else runs_pb2.FinetuneSpec()
        kinds = [chosen(argument, of), *GROUPS[argument]]
        name = next((kind for kind in kinds if set(rest) <= set(options_of(kind))), kinds[0])
    legal = options_of(name)
    for option in rest:
        if option not in known:
            raise invalid(f"{argument} has no {option!r}; it has {', '.join(known)}", argument=argument)
        if option not in legal:
            others = ", ".join(kind for kind in GROUPS[argument] if option in options_of(kind))
            raise invalid(f"{name} has no {argument}.{option}, which belongs to {others}", argument=argument)
    try:
        return getattr(options, name)(**rest)
    except TypeError:
        # Options without a default, which go together.
        needs = " and ".join(f"{argument}.{option}" for option in legal)
        raise invalid(f"{needs} must be given together; got {', '.join(rest)} alone", argument=argument) from None
