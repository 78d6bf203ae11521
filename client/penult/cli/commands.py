"""The tree of commands, and how a command ends."""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

import click
from click.shell_completion import shell_complete

from penult.cli import exporting, finding, looking, published, questions, setting_up
from penult.cli.printing import COMPLETION
from penult.cli.setting_up import FAILED
from penult.cli.stored import deleting
from penult.cli.stored.checkpoints import CHECKPOINTS
from penult.cli.stored.datasets import DATASETS
from penult.cli.stored.features import FEATURES
from penult.cli.stored.groupings import GROUPINGS
from penult.cli.stored.jobs import JOBS
from penult.cli.stored.results import RESULTS
from penult.cli.stored.runs import RUNS
from penult.cli.wording import in_options
from penult.cli.work.finetune import extract, finetune
from penult.cli.work.merge import merge
from penult.cli.work.sweep import sweep
from penult.errors import PenultError

PIPE_CLOSED = 141
"""What shells expect of a command whose reader has gone."""


@click.group(
    name="penult",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="New here? `penult demo` does all of it once. From Python: import penult; help(penult). Commands complete "
    'themselves after eval "$(penult completion bash)", or zsh, or fish.',
)
@click.version_option(version("penult"), message="penult %(version)s")
def penult() -> None:
    """Finetune a model, cache its penultimate features, and ask them about groups: covariance spectra and balanced
    last-layer refits."""


@penult.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
def serve() -> None:
    """Run a server; see penult serve --help."""
    # `main` becomes the server before the tree is loaded.


@penult.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
def store() -> None:
    """Verify, repair, back up, restore and clean a store on this machine; see penult store --help."""
    # As above.


COLLECTIONS = (DATASETS, RUNS, CHECKPOINTS, FEATURES, GROUPINGS, RESULTS, JOBS)
WORK = (finetune, sweep, extract, merge)
for command in (
    *(*WORK, *questions.COMMANDS, *finding.COMMANDS, *exporting.COMMANDS, *published.COMMANDS),
    *(*deleting.COMMANDS, *looking.COMMANDS, *setting_up.COMMANDS),
):
    penult.add_command(command)
for collection in COLLECTIONS:
    deleting.add_delete(collection)
    penult.add_command(collection.group)


def run(arguments: Sequence[str]) -> int:
    """Run a command; returns the exit status."""
    if instruction := os.environ.get(COMPLETION):
        return shell_complete(penult, {}, "penult", COMPLETION, instruction)
    try:
        with penult.make_context("penult", list(arguments)) as context:
            penult.invoke(context)
            sys.stdout.flush()
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        sys.stderr.write("penult: nothing was done\n")
        return FAILED
    except BrokenPipeError:
        # Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except PenultError as error:
        sys.stderr.write(f"penult: {error.kind}: {in_options(error.message, penult, arguments)}\n")
        return FAILED
    except OSError as error:
        sys.stderr.write(f"penult: {error}\n")
        return FAILED
    return 0
