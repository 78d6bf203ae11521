"""What is done once: ``penult demo``, ``doctor``, ``tls-init``, ``token``, ``completion``."""

from pathlib import Path
from typing import Any, cast

import click
from click.shell_completion import get_completion_class

from penult.certificates import make_certificate
from penult.cli.printing import COMPLETION, gives_json, say
from penult.cli.serving import FolderPath, check_excluded, names_a_server
from penult.cli.wording import in_options
from penult.errors import invalid

FAILED = 1
"""Exit status of a command that failed."""
SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.option("--root", type=FolderPath, default=Path("demo"), show_default=True, help="Directory of the store.")
def demo(root: Path) -> None:
    """The main job from end to end on a small data set."""
    from penult.demo import run_demo

    run_demo(root)


@click.command()
@gives_json
@names_a_server
@click.pass_context
def doctor(context: click.Context, address: str | None, root: Path | None, as_json: bool, **options: Any) -> None:
    """What is installed, what can be reached, when the server's certificate ends, and how disk, clock and secrets of
    a store on this machine stand; exits with 1 when no server answers or something keeps it from working."""
    from penult.doctor import examine

    check_excluded(address, root, **options)
    found = examine(address, root, **options)
    line = [context.info_name or ""]
    said = in_options(str(found), cast("click.Group", context.find_root().command), line)
    say(found, as_json=as_json, text=lambda: said)
    context.exit(0 if found.healthy else FAILED)


@click.command("tls-init")
@click.argument("names", nargs=-1, required=True)
@click.option("--directory", type=FolderPath, default=Path(), show_default=True, help="Where the two files go.")
@click.option("--days", type=int, default=365, show_default=True, help="How long the certificate is valid.")
def tls_init(names: tuple[str, ...], directory: Path, days: int) -> None:
    """Make a certificate for a server that clients call by NAMES: host names or IP addresses."""
    certificate, key = make_certificate(names, directory, days=days)
    click.echo(
        f"penult serve --host 0.0.0.0 --tls-cert {certificate} --tls-key {key} --root DIR\n"
        f'Give {certificate} (and never {key}) to everyone who connects: penult.connect("{names[0]}:7711", '
        f'tls_ca="{certificate.name}")'
    )


@click.command()
@click.option("--root", type=FolderPath, required=True, metavar="DIR", help="Directory of the store.")
def token(root: Path) -> None:
    """Print the token of a store on this machine, for its owner to pass on."""
    file = root / "token"
    try:
        click.echo(file.read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        raise invalid(f"{root} has no token yet: the first start of a server there makes it") from None


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the lines that teach SHELL to complete commands and options."""
    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"there is no completion for {shell}")
    click.echo(made(context.find_root().command, {}, "penult", COMPLETION).source())


COMMANDS = (demo, doctor, tls_init, token, completion)
