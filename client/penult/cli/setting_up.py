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
@click.option("--cluster", is_flag=True, help="Look at every node of the server's Ray cluster instead; needs --root.")
@click.pass_context
def doctor(
    context: click.Context, address: str | None, root: Path | None, as_json: bool, cluster: bool, **options: Any
) -> None:
    """What is installed, what can be reached, when the server's certificate ends, and how disk, clock and secrets of
    a store on this machine stand; exits with 1 when no server answers or something keeps it from working."""
    from penult.doctor import examine

    if cluster:  # given after its own name, it makes this program the server's
        raise click.UsageError("--cluster is the server's: penult doctor --cluster --root DIR")
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


@click.group(invoke_without_command=True)
@click.option("--root", type=FolderPath, metavar="DIR", help="Directory of the store.")
@click.pass_context
def token(context: click.Context, root: Path | None) -> None:
    """Print the owner's token of a store on this machine; or give, list and revoke those of users."""
    if context.invoked_subcommand is not None:
        return
    if root is None:
        raise click.UsageError("give --root with the directory of the store")
    file = root / "token"
    try:
        click.echo(file.read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        raise invalid(f"{root} has no token yet: the first start of a server there makes it") from None


def _told_by_the_server(name: str, sentence: str) -> None:
    """A command that is the server's: `main` becomes that before this tree is loaded."""
    settings: dict[str, Any] = {"ignore_unknown_options": True}
    help = f"{sentence}; see penult token {name} --help."
    token.add_command(click.Command(name, help=help, context_settings=settings, add_help_option=False))


_told_by_the_server("create", "Make a token for a user, in a role, and print it")
_told_by_the_server("list", "List the tokens of users")
_told_by_the_server("revoke", "End a token of a user within a second")


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
