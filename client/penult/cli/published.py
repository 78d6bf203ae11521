"""``penult recipes``, ``presets``, ``methods``: finetunings, refits and groupings known by name, without a server."""

from collections.abc import Callable, Mapping
from typing import Any

import click

from penult.calls.methods.groupings import GroupingMethodInfo, grouping_methods
from penult.calls.methods.named import NamedMethod, NamedMethods
from penult.calls.methods.presets import presets
from penult.calls.methods.recipes import recipes
from penult.cli.printing import details, gives_json, say


def _command(name: str, known: Callable[[], NamedMethods[Any]], said: str, example: str) -> click.Command:
    """A command that lists published methods, or shows one."""

    @click.command(name, help=f"{said}; with a NAME, what it sets.", epilog=example)
    @click.argument("name", required=False, type=click.Choice([one.name for one in known()]), metavar="[NAME]")
    @gives_json
    def show(name: str | None, as_json: bool) -> None:
        found = known()
        if name is None:
            say(list(found) if as_json else found, as_json=as_json)
        else:
            say(found[name], as_json=as_json, text=lambda: _text(found[name]))

    return show


def _text(method: NamedMethod) -> str:
    options: Mapping[str, str] = method.options if isinstance(method, GroupingMethodInfo) else {}
    sets = "\n".join(
        f"  {argument} = {value!r}{f'  ({options[argument]})' if argument in options else ''}"
        for argument, value in method.sets.items()
    )
    return f"{details(method, without=('sets', 'options'))}\nsets\n{sets}"


COMMANDS = (
    _command(
        "recipes", recipes, "Published set-ups of finetunings", "penult finetune --recipe labonte2024-waterbirds ..."
    ),
    _command("presets", presets, "Published methods of refits", "penult refit footwear/val --preset dfr"),
    _command(
        "methods", grouping_methods, "Published methods that find groups", "penult discover footwear/val --method xrm"
    ),
)
