"""The words and options of `penult store`."""

import argparse
import re
from pathlib import Path

from penult_server.registry.integrity.collecting import GRACE_SECONDS
from penult_server.settings import add_registry

UNITS = {"h": 3600.0, "d": 86400.0, "w": 604800.0}


def make_parser() -> argparse.ArgumentParser:
    """The options of `store`."""
    parser = argparse.ArgumentParser(
        prog="penult store", description="A store on this machine: verified, rebuilt, backed up, restored, freed."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    verify = commands.add_parser(
        "verify", help="compare every file, manifest and row with its digest; 1 if one differs"
    )
    repair = commands.add_parser(
        "repair", help="rebuild the registry from its copy and the manifests; no server may run"
    )
    backup = commands.add_parser(
        "backup", help="copy the store, also while a server uses it, and look at all of the copy"
    )
    backup.add_argument("target", metavar="DIR", type=Path, help="directory that does not exist yet")
    backup.add_argument(
        "--links",
        action="store_true",
        help="on the same disk, give files that never change another name: no space, and no help where the disk fails",
    )
    again = commands.add_parser("restore", help="make a store at --root, which must be empty, from a backup")
    again.add_argument("source", metavar="DIR", type=Path, help="what `penult store backup` made")
    gc = commands.add_parser("gc", help="remove answers that nobody asks for, and leftovers; no server may run")
    gc.add_argument(
        "--older-than", type=seconds, default=GRACE_SECONDS, metavar="AGE", help="36h, 30d, 4w (default: 30d)"
    )
    gc.add_argument("--dry-run", action="store_true", help="only say what would go")
    add_registry(gc)
    move = commands.add_parser(
        "move-registry",
        help="copy the registry from its file into an empty PostgreSQL database, used from now on; no server may run",
    )
    add_registry(move)
    things = commands.add_parser(
        "move-to-bucket", help="move what lies on the disk to a bucket, the store from now on; no server may run"
    )
    things.add_argument("--store", default="", metavar="s3://BUCKET/PREFIX", help="left out where the root has one")
    adopt = commands.add_parser(
        "adopt-bucket", help="make a store at --root, which must be empty, from a bucket whose root is lost"
    )
    adopt.add_argument("--store", required=True, metavar="s3://BUCKET/PREFIX")
    adopt.add_argument(
        "--lost-root", default="", metavar="DIR", help="the one that is lost, as the bucket says; refused from then on"
    )
    for command in (things, adopt):
        command.add_argument(
            "--store-endpoint", default="", metavar="URL", help="its service, where that is not Amazon's"
        )
    for command in (verify, repair, backup, again, gc, move, things, adopt):
        command.add_argument("--root", type=Path, required=True, metavar="DIR", help="directory of the store")
        command.add_argument("--json", action="store_true", help="print the answer as JSON")
    return parser


def seconds(text: str) -> float:
    """An age, such as 30d, in seconds."""
    age = re.fullmatch(r"(\d{1,6})([hdw])", text)
    if age is None:
        raise argparse.ArgumentTypeError(f"expected hours, days or weeks, such as 36h, 30d or 4w; got {text!r}")
    return int(age[1]) * UNITS[age[2]]
