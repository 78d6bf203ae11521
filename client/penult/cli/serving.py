"""Which server a command asks: the options that say so, and the client that they mean."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack

import click

from penult.client import Client
from penult.connecting import connect, local, looking
from penult.errors import invalid

F = TypeVar("F", bound=Callable[..., Any])
REGISTRIES = ("penult.db", "registry.json")
"""The files either of which makes a directory a store: its registry, or the name of the place where that is."""
FolderPath = click.Path(file_okay=False, path_type=Path)
FilePath = click.Path(dir_okay=False, path_type=Path)


class Access(TypedDict, total=False):
    """How a server is reached, as `penult.connect` has it."""

    token: str | None
    tls: bool
    tls_ca: Path | None
    tls_cert: Path | None
    tls_key: Path | None


_OPTIONS = (
    click.option(
        *("--server", "--address", "address"),
        metavar="NAME",
        help="host:port, or a name in ~/.config/penult/config.toml.  [default: $PENULT_ADDRESS, localhost:7711]",
    ),
    click.option(
        "--root", type=FolderPath, metavar="DIR", help="Directory of a store on this machine, in place of a server."
    ),
    click.option("--token", help="By default $PENULT_TOKEN, the configuration's, or that of a server on this machine."),
    click.option("--tls", is_flag=True, help="Encrypt, trusting public authorities."),
    click.option("--tls-ca", type=FilePath, metavar="FILE", help="Encrypt, trusting the certificates in this file."),
    click.option("--tls-cert", type=FilePath, metavar="FILE", help="Your own certificate, where the server wants one."),
    click.option("--tls-key", type=FilePath, metavar="FILE", help="Its key."),
)


def asks_a_server(*, starts: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options that name a server, and an open client of it as its first argument.

    With `starts` the command asks for jobs, unless it has a --dry-run that was given; any other only looks, and starts
    none that wait in a store.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def command(
            *,
            address: str | None,
            root: Path | None,
            token: str | None,
            tls: bool,
            tls_ca: Path | None,
            tls_cert: Path | None,
            tls_key: Path | None,
            **options: Any,
        ) -> None:
            access = Access(token=token, tls=tls, tls_ca=tls_ca, tls_cert=tls_cert, tls_key=tls_key)
            works = starts and not options.get("dry_run", False)
            with open_client(address, root, starts=works, **access) as client:
                function(client, **options)

        return names_a_server(command)

    return decorate


def names_a_server(command: F) -> F:
    """Give a command the options that name a server: `address`, `root`, and those of `Access`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def open_client(address: str | None, root: Path | None, *, starts: bool = False, **access: Unpack[Access]) -> Client:
    """The client that the options name. Raises UsageError for options that exclude each other, and `PenultError`."""
    check_excluded(address, root, **access)
    if root is None:
        return connect(address, **access)
    check_store(root, starts=starts)
    return local(root) if starts else looking(root)


def check_excluded(address: str | None, root: Path | None, **access: Unpack[Access]) -> None:
    """Raise UsageError where options name both a store and a server."""
    if root is not None and (address is not None or any(access.values())):
        raise click.UsageError("--root names a store on this machine, the other options a server: give one of both")


def check_store(root: Path, *, starts: bool) -> None:
    """Raise `InvalidRequest` unless `root` is a store or, with `starts`, holds nothing yet."""
    if any((root / one).is_file() for one in REGISTRIES):
        return
    if starts and (not root.exists() or (root.is_dir() and not any(root.iterdir()))):
        return
    raise invalid(
        f"{root} is no store, for it holds no {REGISTRIES[0]}: name the directory that `penult serve` or "
        "penult.local() has"
    )
