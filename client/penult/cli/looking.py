"""``penult web`` and ``penult report``: what is stored, to look at."""

from pathlib import Path

import click

from penult.cli.serving import FilePath, FolderPath, asks_a_server, check_store
from penult.client import Client
from penult.errors import install

NEEDS = ("starlette", "uvicorn", "jinja2", "anyio")
"""Packages of the extra `web`."""


def _require(what: str) -> None:
    """Raise ImportError, saying what to install, where the extra is missing."""
    from importlib.util import find_spec

    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        raise ImportError(f"{what} needs {', '.join(missing)}: {install('web')}")


@click.command(
    epilog="penult web --root demo; penult web --server lab --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem"
)
@click.option(
    *("--server", "--address", "address"),
    metavar="NAME",
    help="host:port, or a name in ~/.config/penult/config.toml.  [default: $PENULT_ADDRESS, localhost:7711]",
)
@click.option(
    "--root", type=FolderPath, metavar="DIR", help="Directory of a store on this machine, in place of a server."
)
@click.option("--tls", is_flag=True, help="The server is asked over TLS that a public authority has signed.")
@click.option("--tls-ca", type=FilePath, metavar="FILE", help="The server is asked over TLS, trusting this file.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Where browsers connect; others need a certificate."
)
@click.option("--port", type=click.IntRange(0, 65535), default=7712, show_default=True, help="0 for any that is free.")
@click.option(
    "--tls-cert", type=FilePath, metavar="FILE", help="Certificate of the page, such as that of penult serve."
)
@click.option("--tls-key", type=FilePath, metavar="FILE", help="Its key.")
def web(
    address: str | None,
    root: Path | None,
    tls: bool,
    tls_ca: Path | None,
    host: str,
    port: int,
    tls_cert: Path | None,
    tls_key: Path | None,
) -> None:
    """Serve a page that shows what a server has stored and does, live. Each visitor logs in with a token; the page has
    none of its own. Ctrl-C ends it."""
    _require("penult web")
    from penult.connecting import configured
    from penult.web.serving import is_reached, serve

    if root is not None and (address is not None or tls or tls_ca):
        raise click.UsageError("--root names a store on this machine, the other options a server: give one of both")
    if root is not None:
        check_store(root, starts=False)
    elif not is_reached(where := configured(address).address):
        said = f"no server answers at {where} now. Of a store on this machine, such as demo: penult web --root demo"
        click.echo(said, err=True)
    serve(
        address,
        root,
        host=host,
        port=port,
        tls=tls,
        tls_ca=tls_ca,
        certificate=tls_cert,
        key=tls_key,
        ready=lambda at: click.echo(f"{at}\n{_how(root)}"),
    )


def _how(root: Path | None) -> str:
    """How to log in."""
    store = "DIR" if root is None else str(root)
    return f"Log in with a token: yours, or the owner's of a store on this machine (penult token --root {store})."


@click.command(epilog="penult report my-run other-run -o runs.html")
@click.argument("runs", nargs=-1, required=True)
@click.option(
    "-o", "--output", type=FilePath, default=Path("report.html"), show_default=True, help="The file to write."
)
@asks_a_server()
def report(client: Client, runs: tuple[str, ...], output: Path) -> None:
    """Write one file of HTML about RUNS: recipes, accuracies, spectra, refits, figures, definitions and where they come
    from. It needs no network and no other file; equal runs give equal bytes."""
    _require("penult report")
    from penult.web.report import write

    click.echo(write(client, runs, output))


COMMANDS = (web, report)
