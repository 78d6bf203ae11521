"""`python -m penult_server serve | token | store`: what runs a server, and what its owner does beside it."""

import argparse
import asyncio
import importlib.util
import logging
import os
import sys
from pathlib import Path
from typing import Any

from penult_proto.errors import ErrorKind
from penult_server.errors import RegistryUnavailable, ServiceError
from penult_server.front.observed.lines import subjects
from penult_server.logs.batched import BatchedLines
from penult_server.logs.bounded import keep_bounded
from penult_server.logs.setup import FORMAT_VARIABLE, FORMATS, LogFormat, default_format, write_lines
from penult_server.machine.leaving import leave, on_signals
from penult_server.machine.loading import without_collections
from penult_server.settings import ENGINES, Settings, add_registry
from penult_server.status import translate
from penult_server.users import command as token_command

EXIT_LOCKED = 3
"""Exit status when another server holds the root."""


def make_parser() -> argparse.ArgumentParser:
    """The options of `serve`."""
    parser = argparse.ArgumentParser(prog="penult", description="penult's server")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="serve a root until interrupted")
    serve.add_argument("--root", type=Path, required=True, help="directory of everything the server keeps")
    add_registry(serve)
    serve.add_argument(
        "--lease-seconds",
        type=float,
        default=60.0,
        help="with --registry: age of a server's last word at which the next takes its jobs (default: %(default)s)",
    )
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    serve.add_argument("--port", type=int, default=7711, help="0 takes a free one (default: %(default)s)")
    serve.add_argument("--tls-cert", type=Path, help="PEM certificate chain; needed on any address but loopback")
    serve.add_argument("--tls-key", type=Path, help="PEM private key")
    serve.add_argument("--insecure", action="store_true", help="allow other addresses without TLS")
    serve.add_argument(
        "--embedded", action="store_true", help="stop when the last attached client has gone and its jobs have ended"
    )
    serve.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    serve.add_argument("--max-queued-jobs", type=int, default=100)
    serve.add_argument("--max-running-jobs", type=int, default=0, help="default: one for each job device")
    serve.add_argument(
        "--resident-bytes",
        type=int,
        default=4 * 2**30,
        help="features kept in memory between queries, by all compute workers together (default: %(default)s)",
    )
    serve.add_argument(
        "--compute-workers",
        type=int,
        default=0,
        metavar="N",
        help="processes that answer queries, each with a GPU, or its part of the cores, and with the features of other "
        "checkpoints in memory; with --engine ray on nodes of the cluster (default: on this machine, one for each GPU "
        "that --job-devices leaves, one without GPUs)",
    )
    serve.add_argument(
        "--metrics-port",
        type=int,
        help="port of /metrics (Prometheus) and /healthz; 0 takes a free one (default: none)",
    )
    serve.add_argument("--metrics-host", default="127.0.0.1", help="address of that port (default: %(default)s)")
    serve.add_argument("--metrics-by-user", action="store_true", help="count requests and jobs by user, too")
    serve.add_argument(
        "--log-format", choices=FORMATS, help="format of the log (default: text on a terminal, otherwise json)"
    )
    serve.add_argument(
        "--tls-client-ca", type=Path, help="PEM certificates of who signs clients' certificates; each client needs one"
    )
    serve.add_argument("--max-user-jobs", type=int, default=50, help="jobs of a user that wait (default: %(default)s)")
    serve.add_argument("--max-user-bytes", type=int, default=None, help="bytes stored of a user (default: no limit)")
    serve.add_argument("--audit", default="changes", choices=("changes", "all"), help="what audit.jsonl tells of")
    token_command.add_parser(commands)
    for name, default, text in (
        ("calls", 256, "calls in progress at most"),
        ("calls-per-user", 64, "the same, of one user"),
        ("computing", 64, "calls that compute at most, in each compute worker"),
        ("computing-per-user", 16, "the same, of one user"),
    ):
        serve.add_argument(f"--max-{name}", type=int, default=default, help=f"{text} (default: %(default)s)")
    serve.add_argument(
        "--idle-seconds",
        type=float,
        default=60.0,
        help="how long a client may leave an upload or a read standing still (default: %(default)s)",
    )
    serve.add_argument(
        "--stop-grace",
        type=float,
        default=5.0,
        help="seconds that calls in progress get when the server stops (default: %(default)s)",
    )
    serve.add_argument(
        "--data-root",
        type=Path,
        action="append",
        default=[],
        dest="data_roots",
        metavar="DIR",
        help="directory below which clients may name files (repeatable; without one the owner may name any)",
    )
    serve.add_argument(
        "--keep-days",
        type=int,
        default=0,
        metavar="DAYS",
        help="remove answers without name, tag or note that nobody asked for within DAYS, as `penult store gc` does",
    )
    serve.add_argument(
        "--job-devices",
        type=_names,
        default=(),
        metavar="0,1,...",
        help="GPUs of jobs, one each (default: all visible but those of compute workers; all where that leaves none)",
    )
    serve.add_argument(
        "--extract-workers",
        type=int,
        default=0,
        metavar="N",
        help="processes of one extraction at a time, each with a GPU or its share of the cores (default: one; on a "
        "cluster one for each GPU, or for 8 cores where it has none)",
    )
    serve.add_argument(
        "--store",
        default="",
        metavar="s3://BUCKET/PREFIX",
        help="where checkpoints, features and groupings lie, with copies of datasets and runs; the root remembers it "
        "(needs the extra `s3`)",
    )
    serve.add_argument("--store-endpoint", default="", metavar="URL", help="its service, where that is not Amazon's")
    serve.add_argument(
        "--store-cache-bytes", type=int, default=0, metavar="N", help="bytes of it kept on this machine (16 GiB)"
    )
    serve.add_argument(
        "--engine",
        default="local",
        choices=ENGINES,
        help="where jobs run: here, or on the Ray cluster of RAY_ADDRESS, which must ask for a token",
    )
    commands.add_parser("store", help="look after a store without its server", add_help=False)
    commands.add_parser("doctor", help="look at every node of the cluster (--cluster)", add_help=False)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the server; returns the exit status. Threads of it may still wait for a disk: see `leave`."""
    given = sys.argv[1:] if arguments is None else arguments
    # Whatever this process and its workers make is for their user alone.
    os.umask(0o077)
    if given[:1] == ["store"]:
        from penult_server.upkeep.command import main as store

        return store(given[1:])
    if given[:1] == ["doctor"]:
        return look_at_cluster(given[1:])
    options: dict[str, Any] = vars(make_parser().parse_args(given))
    if options.pop("command") == "token":
        return token_command.run(options)
    write_front_lines(options["log_format"], embedded=options["embedded"])
    # The front starts processes; gRPC's own handling of forks is neither needed nor wanted there.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    try:
        options["root"] = _resolved(options["root"])
        options["data_roots"] = tuple(one.absolute() for one in options["data_roots"])
        settings = Settings(**options)
        if settings.engine == "ray":
            check_cluster()
        # Not `asyncio.run`: at its end it waits for threads, and one that opens a pipe waits for ever.
        asyncio.new_event_loop().run_until_complete(_serve(settings))
    except ServiceError as error:
        return _refused(error.message, error.kind)
    except ImportError as error:
        return _refused(
            f"a package that the server needs cannot be loaded ({error}): install penult with its extra `server`"
        )
    except (OSError, RegistryUnavailable) as error:
        said = translate(error)
        if said.kind != ErrorKind.INTERNAL:
            return _refused(said.message, said.kind)
        return _refused(f"cannot serve {options['root']}: {error}; its files must be readable and writable")
    return 0


def write_front_lines(wanted: LogFormat | None, *, embedded: bool) -> None:
    """Write the front's log, whose format its workers take over; an embedded server is a person's own."""
    form = wanted or default_format(for_people=embedded)
    os.environ[FORMAT_VARIABLE] = form
    write_lines(form, subjects, BatchedLines())
    keep_bounded()
    if embedded:
        # Its one user knows what they call.
        logging.getLogger("penult.access").setLevel(logging.WARNING)


def _names(given: str) -> tuple[str, ...]:
    """Names between commas."""
    return tuple(name for one in given.split(",") if (name := one.strip()))


def _resolved(root: Path) -> Path:
    """The root's own path. Raises ServiceError (INVALID_ARGUMENT) for a circle of links."""
    try:
        return root.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise ServiceError(ErrorKind.INVALID_ARGUMENT, f"--root must be a directory; got {root} ({error})") from error


def check_cluster() -> None:
    """Look at the Ray cluster before jobs need it. Raises ServiceError for one that no job could, or should, use."""
    # Imported late, as gRPC is below.
    from penult_server.machine.ray_cluster import check_ray_cluster

    try:
        check_ray_cluster()
    except ServiceError as error:
        if error.kind is not ErrorKind.WORKER_DIED:
            raise
        # What is stored is served, and the cluster may come later.
        logging.getLogger("penult").warning("%s; until then jobs fail", error.message)


def look_at_cluster(arguments: list[str]) -> int:
    """Look at every node of the Ray cluster; returns the exit status."""
    if importlib.util.find_spec("ray") is None:
        sys.stderr.write("penult doctor --cluster: Ray is not installed: install penult with its extra `ray`\n")
        return 1
    from penult_server.cluster.doctor import main as doctor

    return doctor(arguments)


async def _serve(settings: Settings) -> None:
    # Imported late: gRPC reads the environment when it is loaded.
    with without_collections():
        from penult_server.front.server import LEAVE_SECONDS, Server

    server, loop = Server(settings), asyncio.get_running_loop()
    on_signals(lambda: loop.call_soon_threadsafe(server.stop), settings.stop_grace + LEAVE_SECONDS)
    await server.run()


def _refused(message: str, kind: ErrorKind | None = None) -> int:
    """Say in a sentence why there is no server; returns the exit status."""
    sys.stderr.write(f"penult serve: {message}{f' [{kind}]' if kind else ''}\n")
    return EXIT_LOCKED if kind is ErrorKind.STORE_LOCKED else 1


if __name__ == "__main__":
    leave(main())
