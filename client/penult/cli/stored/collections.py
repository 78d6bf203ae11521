"""What every kind of stored things has on the command line: a list, one of them, its card."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import click

from penult.cli.printing import Listing, details, gives_json, json_of, say, table
from penult.cli.serving import asks_a_server
from penult.cli.stored.filters import LIMIT, filters
from penult.client import Client
from penult.results.lists.listing import Listing as Found


class Collection:
    """A group of commands about one kind of stored things, ``penult runs`` and its like."""

    def __init__(
        self,
        name: str,
        what: str,
        *,
        one: str,
        given_as: str,
        to_json: Callable[[Any], object] = json_of,
        to_text: Callable[[Any], str] | None = None,
    ) -> None:
        """
        Parameters
        ----------
        name : of the group, and of the client's collection, such as ``"runs"``.
        what : what the group is for.
        one : one of them, such as ``"run"``.
        given_as : how one is named.
        to_json, to_text : how one is printed.
        """
        self.name, self.one = name, one
        self.epilog = f"{one.upper()} is {given_as}."
        self.to_json = to_json
        self.to_text = to_text or details
        self.group = Listing(name=name, help=f"{what}; without a word more, list them.")

    def of(self, client: Client) -> Any:
        """The client's collection."""
        return getattr(client, self.name)

    def lists(self, *by: str, title: str) -> None:
        """Add ``list``, with these filters."""

        @self.group.command("list", help=f"{title}, newest first.")
        @filters(*by)
        @LIMIT
        @gives_json
        @asks_a_server()
        def listed(client: Client, as_json: bool, **wanted: Any) -> None:
            self.say_all(self.of(client).list(**asked(wanted)), as_json=as_json)

        _ = listed

    def say_all(self, found: "Found[Any]", *, as_json: bool) -> None:
        """Print a list: all of it, a row for each."""
        say([self.to_json(one) for one in found] if as_json else found, as_json=as_json, text=lambda: rows_of(found))

    def shows(self) -> None:
        """Add ``show``."""

        @self.group.command("show", help=f"All of one {self.one}.", epilog=self.epilog)
        @click.argument(self.one)
        @gives_json
        @asks_a_server()
        def show(client: Client, as_json: bool, **which: str) -> None:
            found = self.of(client).get(which[self.one])
            say(self.to_json(found) if as_json else found, as_json=as_json, text=lambda: self.to_text(found))

        _ = show

    def describes(self, *, named: bool = True) -> None:
        """Add ``describe``; `named`: things of this kind can be given a name."""
        named_option: Callable[[Any], Any] = (
            click.option("--name", help='In place of the name it has; "" for none.')
            if named
            else lambda command: command
        )
        does = f"Name a {self.one}, tag it" if named else f"Tag a {self.one}"

        @self.group.command("describe", help=f"{does}, write a note; what is left out stays.", epilog=self.epilog)
        @click.argument(self.one)
        @named_option
        @click.option("--tag", "tags", multiple=True, help="In place of the tags it has; may be repeated.")
        @click.option("--no-tags", is_flag=True, help="Remove its tags.")
        @click.option("--note", help='In place of the note it has; "" for none.')
        @gives_json
        @asks_a_server()
        def describe(
            client: Client, tags: tuple[str, ...], no_tags: bool, note: str | None, as_json: bool, **which: str | None
        ) -> None:
            if tags and no_tags:
                raise click.UsageError("--tag gives it tags and --no-tags removes them: give one of both")
            said = list(tags) if tags or no_tags else None
            thing = which.pop(self.one)
            if which.get("name") is None and note is None and said is None:
                raise click.UsageError(
                    f"nothing to say of it: give {'--name, ' if named else ''}--tag, --no-tags or --note"
                )
            found = self.of(client).describe(thing, tags=said, note=note, **which)
            say(self.to_json(found) if as_json else found, as_json=as_json)

        _ = describe


def asked(options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that options stand for: those that were given, several as lists."""
    given: dict[str, Any] = {
        name: list(cast("tuple[Any, ...]", value)) if isinstance(value, tuple) else value
        for name, value in options.items()
    }
    return {name: value for name, value in given.items() if value is not None and value != []}


def rows_of(found: "Found[Any]") -> str:
    """A list as a table, each member a row."""
    header, rows = found.columns()
    return table(header, rows) if rows else "none found"
