"""``penult delete KIND ID``, the same as ``penult KINDs delete ID``: what goes is shown and asked about first."""

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar, get_args

import click

from penult.cli.printing import gives_json, say
from penult.cli.serving import asks_a_server
from penult.cli.stored.collections import Collection
from penult.client import Client
from penult.types import StoredKind

F = TypeVar("F", bound=Callable[..., Any])
_OPTIONS = (
    click.option("--dependents", is_flag=True, help="Also what depends on it; without it that is refused."),
    click.option("--dry-run", is_flag=True, help="Only say what would go, what stays and what is in the way."),
    click.option("--yes", is_flag=True, help="Do not ask."),
    gives_json,
)
ASKS = "What goes is listed, and a terminal asked; elsewhere it has to be said with --yes."
COLLECTION_OF = {"features": "features"} | {kind: f"{kind}s" for kind in get_args(StoredKind) if kind != "features"}
"""The client's collection of each kind."""


def _deletes(command: F) -> F:
    """Give a command the options of a deletion."""
    return functools.reduce(lambda so_far, option: option(so_far), reversed(_OPTIONS), command)


def delete_thing(collection: Any, which: str, *, dependents: bool, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Delete a thing, once a person has agreed. Raises UsageError where nobody can be asked."""
    if not yes and not dry_run:
        if not sys.stdin.isatty():
            raise click.UsageError("nobody can be asked here: give --yes to delete, or --dry-run to see what would go")
        preview = collection.delete(which, dependents=dependents, dry_run=True)
        # What stands in the way is told by the refusal itself.
        if preview.is_possible:
            click.echo(str(preview), err=True)
            click.confirm("Delete this?", abort=True, err=True)
    say(collection.delete(which, dependents=dependents, dry_run=dry_run), as_json=as_json)


def add_delete(collection: Collection) -> None:
    """Add ``delete`` to a group."""

    @collection.group.command("delete", help=f"Delete a {collection.one}. {ASKS}", epilog=collection.epilog)
    @click.argument(collection.one)
    @_deletes
    @asks_a_server()
    def delete(client: Client, **options: Any) -> None:
        delete_thing(collection.of(client), options.pop(collection.one), **options)

    _ = delete


@click.command(help=f"Delete the thing of a KIND that ID names. {ASKS}", epilog="penult delete run 1a2b --dry-run")
@click.argument("kind", type=click.Choice(get_args(StoredKind)))
@click.argument("id")
@_deletes
@asks_a_server()
def delete(client: Client, kind: StoredKind, id: str, **options: Any) -> None:
    delete_thing(getattr(client, COLLECTION_OF[kind]), id, **options)


@click.command()
@gives_json
@asks_a_server()
def usage(client: Client, as_json: bool) -> None:
    """What the store takes on its disk: by sort of thing, by run, by user; and what is free."""
    say(client.usage(), as_json=as_json)


COMMANDS = (usage, delete)
