"""The command line: ``penult serve | demo | jobs | spectra | refit | doctor``."""

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, get_args

from penult.client import Client
from penult.connecting import connect, looking
from penult.connection.embedded import require_server
from penult.connection.handshake import DEFAULT_ADDRESS
from penult.errors import PenultError
from penult.plots import save
from penult.results.metrics import Metrics
from penult.results.refits import Refit
from penult.results.spectra import Spectra
from penult.types import By, Preset

INTERRUPTED = 130
"""What shells expect of a command that Ctrl-C ended."""
Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 1 when it failed, 2 when it was called wrongly."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["serve"]:
            _serve(given)
        options = make_parser().parse_args(given)
        run: Command = options.run
        return run(options)
    except PenultError as error:
        sys.stderr.write(f"penult: {error.kind}: {error.message}\n")
    except (ImportError, OSError) as error:
        sys.stderr.write(f"penult: {error}\n")
    except KeyboardInterrupt:
        return INTERRUPTED
    return 1


def _serve(given: list[str]) -> NoReturn:
    """Become the server: its own options, unknown here, are left to it."""
    require_server("`penult serve` runs a server")
    os.execv(sys.executable, [sys.executable, "-m", "penult_server", *given])


def make_parser() -> argparse.ArgumentParser:
    """The parser of every command but ``serve``, whose options are the server's."""
    server = argparse.ArgumentParser(add_help=False)
    where = server.add_mutually_exclusive_group()
    where.add_argument("--address", help=f"host:port of a server (default: {DEFAULT_ADDRESS})")
    where.add_argument("--root", type=Path, help="directory of a store on this machine")
    server.add_argument("--token", help="by default from PENULT_TOKEN or the file of a server on this machine")
    parser = argparse.ArgumentParser(
        prog="penult",
        description="Finetune a model, cache its penultimate features, and ask them about groups: "
        "covariance spectra and balanced last-layer refits.",
        epilog="New here? `penult demo` does all of it once. From Python: import penult; help(penult)",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    commands.add_parser("serve", help="run a server; see penult serve --help", add_help=False)
    demo = commands.add_parser("demo", help="the main job from end to end on a small data set")
    demo.add_argument("--root", type=Path, default=Path("demo"), help="directory of the store (default: demo)")
    demo.set_defaults(run=_demo)
    doctor = commands.add_parser("doctor", help="what is installed and what can be reached", parents=[server])
    doctor.set_defaults(run=_doctor)
    _add_jobs(commands.add_parser("jobs", help="list, watch or cancel jobs", parents=[server]))
    _add_spectra(commands.add_parser("spectra", help="eigenvalues of stored features", parents=[server]))
    _add_refit(commands.add_parser("refit", help="retrain the last layer on stored features", parents=[server]))
    return parser


def _add_jobs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("list", "watch", "cancel"), default="list")
    parser.add_argument("id", nargs="?", help="id of the job to watch or cancel")
    parser.set_defaults(run=_jobs, usage_error=parser.error)


def _add_spectra(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("features", help="digest, the start of one, or name of a feature set")
    parser.add_argument("--by", choices=get_args(By), default="group")
    parser.add_argument("--top-k", type=int, default=10, help="eigenvalues shown (default: %(default)s)")
    parser.add_argument("--correction", type=int, choices=(0, 1), default=0, help="divisor n - correction")
    parser.add_argument("--split", help="split of a checkpoint whose digest is given in place of a feature set")
    parser.add_argument(
        "--replicates", type=int, default=200, help="replicates of each resampling (default: %(default)s)"
    )
    parser.add_argument(
        "--confidence", type=float, default=0.95, help="confidence level of the intervals (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw it")
    parser.set_defaults(run=_spectra)


def _add_refit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("features", help="digest, the start of one, or name of the set to fit")
    parser.add_argument("--preset", choices=get_args(Preset), default="dfr")
    parser.add_argument("--l2", type=float, help="strength of the L2 penalty (default: the preset's)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--evaluate",
        type=name_and_set,
        action="append",
        default=[],
        metavar="NAME=FEATURES",
        help="a set to score the head on; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    parser.set_defaults(run=_refit)


def name_and_set(text: str) -> tuple[str, str]:
    """Split ``test=DIGEST``."""
    name, equals, features = text.partition("=")
    if not (name and equals and features):
        raise argparse.ArgumentTypeError(f"expected NAME=FEATURES, such as test=my-features; got {text!r}")
    return name, features


def client_of(options: argparse.Namespace) -> Client:
    """The client that the options name. None of these commands asks for a job."""
    if options.root is not None:
        return looking(options.root)
    return connect(options.address or DEFAULT_ADDRESS, token=options.token)


def _demo(options: argparse.Namespace) -> int:
    from penult.demo import run_demo

    run_demo(options.root)
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from penult.doctor import examine

    return examine(options.address, options.root, options.token)


def _jobs(options: argparse.Namespace) -> int:
    if (options.action == "list") != (options.id is None):
        options.usage_error("list takes no id; watch and cancel need the id of a job")
    with client_of(options) as client:
        if options.action == "list":
            for job in client.jobs.list():
                print(f"{job.id}  {job.state:<10}  {job.title}  {job.stage}".rstrip())
            return 0
        job = client.jobs.get(str(options.id))
        print(job.wait(progress=True) if options.action == "watch" else job.cancel())
    return 0


def _spectra(options: argparse.Namespace) -> int:
    with client_of(options) as client:
        spectra = client.spectra(
            options.features,
            split=options.split,
            by=options.by,
            top_k=options.top_k,
            correction=options.correction,
            replicates=options.replicates,
            confidence=options.confidence,
            seed=options.seed,
        )
    if options.plot is not None:
        save(spectra.plot(top_k=options.top_k), options.plot)
    print(json.dumps(spectra_json(spectra), indent=1) if options.json else spectra)
    return 0


def _refit(options: argparse.Namespace) -> int:
    with client_of(options) as client:
        refit = client.refit(
            options.features,
            preset=options.preset,
            l2=options.l2,
            seed=options.seed,
            evaluate=dict(options.evaluate),
        )
    if options.json:
        print(json.dumps(refit_json(refit), indent=1))
        return 0
    print(repr(refit))
    for name, metrics in refit.metrics.items():
        print(f"\n{name}\n{metrics}")
    return 0


def number_json(value: float) -> float | None:
    """The number as JSON has it: None for NaN and infinity."""
    return float(value) if math.isfinite(value) else None


def spectra_json(spectra: Spectra) -> dict[str, object]:
    """Spectra as JSON; eigenvalues that do not exist are null."""
    return {
        "digest": spectra.digest,
        "feature_set": spectra.feature_set,
        "by": spectra.by,
        "correction": spectra.correction,
        "center": spectra.center,
        "replicates": spectra.replicates,
        "confidence": spectra.confidence,
        "seed": spectra.seed,
        "groups": [
            {
                "name": group.name,
                "n": group.count,
                "trace": number_json(float(trace)),
                "eigenvalues": [number_json(float(value)) for value in values],
            }
            for group, trace, values in zip(spectra.groups, spectra.trace, spectra.eigenvalues, strict=True)
        ],
        "imbalance": [
            {
                "class": entry.class_name,
                "minority": entry.minority,
                "majority": entry.majority,
                "n_minority": entry.n_minority,
                "n_majority": entry.n_majority,
                "ratio": number_json(entry.ratio),
                "matched_ratio": number_json(entry.matched_ratio),
                "low": number_json(entry.low),
                "high": number_json(entry.high),
                "p_value": number_json(entry.p_value),
                "p_adjusted": number_json(entry.p_adjusted),
            }
            for entry in spectra.imbalance
        ],
    }


def refit_json(refit: Refit) -> dict[str, object]:
    """A refit as JSON, without the head itself."""
    return {
        "digest": refit.digest,
        "feature_set": refit.settings.feature_set,
        "preset": refit.settings.preset,
        "l2": refit.settings.l2,
        "n_rows": refit.n_rows,
        "converged": refit.certificate.converged,
        "gap": number_json(refit.certificate.gap),
        "metrics": {name: _metrics_json(metrics) for name, metrics in refit.metrics.items()},
    }


def _metrics_json(metrics: Metrics) -> dict[str, object]:
    return {
        "average_accuracy": number_json(metrics.average_accuracy),
        "weighted_average_accuracy": number_json(metrics.weighted_average_accuracy),
        "worst_group_accuracy": number_json(metrics.worst_group_accuracy),
        "worst_group": metrics.worst_group.name,
        "group_accuracy": {
            group.name: number_json(float(accuracy))
            for group, accuracy in zip(metrics.groups, metrics.group_accuracy, strict=True)
        },
    }
