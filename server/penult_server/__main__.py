"""`python -m penult_server serve | token`: the command line of a server (`penult serve`, `penult token create`)."""

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.log_limit import RepeatLimit
from penult_server.settings import Settings
from penult_server.users import command as token_command

EXIT_LOCKED = 3
"""Exit status when another server holds the root."""


def make_parser() -> argparse.ArgumentParser:
    """The options of `serve`."""
    parser = argparse.ArgumentParser(prog="penult", description="penult's server")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="serve a root until interrupted")
    serve.add_argument("--root", type=Path, required=True, help="directory of everything the server keeps")
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
    serve.add_argument("--max-running-jobs", type=int, default=1)
    serve.add_argument(
        "--resident-bytes",
        type=int,
        default=4 * 2**30,
        help="features kept in memory between queries (default: %(default)s)",
    )
    serve.add_argument(
        "--tls-client-ca", type=Path, help="PEM certificates of who signs clients' certificates; each client needs one"
    )
    serve.add_argument("--max-user-jobs", type=int, default=50, help="jobs of a user that wait (default: %(default)s)")
    serve.add_argument("--max-user-bytes", type=int, default=None, help="bytes stored of a user (default: no limit)")
    serve.add_argument("--audit", default="changes", choices=("changes", "all"), help="what audit.jsonl tells of")
    token_command.add_parser(commands)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the server; returns the exit status."""
    options = vars(make_parser().parse_args(arguments))
    # Whatever this process and its workers make is for their user alone.
    os.umask(0o077)
    if options.pop("command") == "token":
        return token_command.run(options)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(RepeatLimit())
    # The front starts processes; gRPC's own handling of forks is neither needed nor wanted there.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    # Imported late: gRPC reads the environment when it is loaded.
    from penult_server.front.server import Server

    try:
        settings = Settings(**options | {"root": options["root"].resolve()})
        asyncio.run(_serve(Server, settings))
    except ServiceError as error:
        sys.stderr.write(f"penult serve: {error.message} [{error.kind}]\n")
        return EXIT_LOCKED if error.kind is ErrorKind.STORE_LOCKED else 1
    return 0


async def _serve(server_class: "type", settings: Settings) -> None:
    await server_class(settings).run()


if __name__ == "__main__":
    sys.exit(main())
