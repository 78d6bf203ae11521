"""`python -m penult_server store`: the command line of a store on this machine (also reached as `penult store`)."""

import argparse
import json
import logging
import re
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.front.access import RootLock
from penult_server.registry.catalog import Catalog
from penult_server.registry.database import Database
from penult_server.registry.deletion import Deletions
from penult_server.registry.integrity.collecting import GRACE_SECONDS, Collected, collect
from penult_server.registry.integrity.moving import copy_registry_to
from penult_server.registry.integrity.place import check_is_file, move_place
from penult_server.registry.jobs import JobTable
from penult_server.settings import add_registry
from penult_server.status import translate
from penult_server.stores.places.opening import COLLECT_SECONDS, copies_of, store_of
from penult_server.stores.places.serving import prepare_store
from penult_server.stores.removal import remove
from penult_server.upkeep.backup import back_up, restore
from penult_server.upkeep.damage import Verification
from penult_server.upkeep.moving import move_to_bucket
from penult_server.upkeep.repair import repair_store
from penult_server.upkeep.verify import REGISTRY, verify_store

UNITS = {"h": 3600.0, "d": 86400.0, "w": 604800.0}
EXIT_DAMAGED = 1


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
    things.add_argument("--store-endpoint", default="", metavar="URL", help="its service, where that is not Amazon's")
    for command in (verify, repair, backup, again, gc, move, things):
        command.add_argument("--root", type=Path, required=True, metavar="DIR", help="directory of the store")
        command.add_argument("--json", action="store_true", help="print the answer as JSON")
    return parser


def seconds(text: str) -> float:
    """An age, such as 30d, in seconds."""
    age = re.fullmatch(r"(\d{1,6})([hdw])", text)
    if age is None:
        raise argparse.ArgumentTypeError(f"expected hours, days or weeks, such as 36h, 30d or 4w; got {text!r}")
    return int(age[1]) * UNITS[age[2]]


def main(arguments: list[str]) -> int:
    """Run a command; returns the exit status: 0, 1 where something failed or is damaged, 2 for a wrong call."""
    options = make_parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    options.root = options.root.resolve()
    try:
        return _COMMANDS[options.command](options)
    except Exception as error:  # also a full disk, and what may not be read
        said = error if isinstance(error, ServiceError) else _told(error)
        sys.stderr.write(f"penult store {options.command}: {said.message} [{said.kind}]\n")
        return EXIT_DAMAGED


def _told(error: Exception) -> ServiceError:
    if isinstance(error, OSError):
        return ServiceError(ErrorKind.DISK_FAILED, str(error))
    return translate(error)


def _verify(options: argparse.Namespace) -> int:
    _check_there(options.root)
    return _say(verify_store(options.root), as_json=options.json)


def _repair(options: argparse.Namespace) -> int:
    _check_there(options.root)
    check_is_file(
        options.root, "restore the database from a copy of pg_dump's; `penult store verify` looks at the files"
    )
    with _locked(options.root):
        said = repair_store(options.root)
    sys.stdout.write(f"{json.dumps(said, indent=1) if options.json else chr(10).join(said)}\n")
    return 0


def _backup(options: argparse.Namespace) -> int:
    check_is_file(
        options.root,
        "copy that first, by pg_dump, then the directory, whose files never change once they are in place; a copy of "
        "the directory that is younger than the database's lacks nothing",
    )
    return _say(back_up(options.root, options.target, links=options.links), as_json=options.json)


def _restore(options: argparse.Namespace) -> int:
    return _say(restore(options.source, options.root), as_json=options.json)


def _collect(options: argparse.Namespace) -> int:
    _check_there(options.root)
    with _locked(options.root), closing(Database(options.registry or options.root / REGISTRY)) as database:
        if not database.claim():
            raise ServiceError(ErrorKind.STORE_LOCKED, f"a server serves {database.place}: stop it, or use --keep-days")
        deletions = Deletions(database, options.root, Catalog(database, options.root), JobTable(database))
        collected = collect(database, deletions, options.root, options.older_than, dry_run=options.dry_run)
        if not options.dry_run:
            store_of(options.root).collect(max(options.older_than, COLLECT_SECONDS))
            remove(options.root / name for name in collected.files)
            deletions.reserve.keep()
    return _say(collected, as_json=options.json)


def _move(options: argparse.Namespace) -> int:
    _check_there(options.root)
    check_is_file(options.root, "it has been moved already")
    if not (options.root / REGISTRY).is_file():
        raise ServiceError(ErrorKind.INVALID_ARGUMENT, f"{options.root} has no {REGISTRY}: there is nothing to move")
    if not options.registry:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, "say where to: --registry postgresql://user@host/database, or PENULT_REGISTRY"
        )
    with _locked(options.root):
        with closing(Database(options.root / REGISTRY)) as source:
            place, counts = copy_registry_to(source, options.registry)
        kept = move_place(options.root, place)
    if options.json:
        sys.stdout.write(f"{json.dumps({'place': place, 'kept': kept.name, 'rows': counts}, indent=1)}\n")
        return 0
    rows = ", ".join(f"{number} of {table}" for table, number in counts.items() if number)
    sys.stdout.write(
        f"{sum(counts.values())} rows copied and compared ({rows})\nthe registry of {options.root} is {place} from now "
        f"on: serve it with --registry; the file is kept as {kept.name}\n"
    )
    return 0


def _move_things(options: argparse.Namespace) -> int:
    _check_there(options.root)
    with _locked(options.root):
        prepare_store(options.root, options.store, options.store_endpoint)
        if copies_of(options.root) is None:
            raise ServiceError(ErrorKind.INVALID_ARGUMENT, "say where to: --store s3://bucket/prefix")
        said = move_to_bucket(options.root)
    sys.stdout.write(f"{json.dumps(said, indent=1) if options.json else chr(10).join(said)}\n")
    return 0


_COMMANDS = {
    "verify": _verify,
    "repair": _repair,
    "backup": _backup,
    "restore": _restore,
    "gc": _collect,
    "move-registry": _move,
    "move-to-bucket": _move_things,
}


def _say(answer: Verification | Collected, *, as_json: bool) -> int:
    sys.stdout.write(f"{json.dumps(_plain(answer), indent=1) if as_json else answer}\n")
    return EXIT_DAMAGED if isinstance(answer, Verification) and answer.damages else 0


@contextmanager
def _locked(root: Path) -> Generator[None, None, None]:
    lock = RootLock(root, patience=0.0)
    try:
        yield
    finally:
        lock.release()


def _check_there(root: Path) -> None:
    if not root.is_dir() or not any(root.iterdir()):
        raise ServiceError(ErrorKind.INVALID_ARGUMENT, f"{root} holds no store: name the directory that a server has")


def _plain(answer: Verification | Collected) -> dict[str, object]:
    """An answer as JSON has it."""
    if isinstance(answer, Verification):
        damages = [asdict(one) for one in answer.damages]
        return {"damages": damages, "checked": dict(answer.checked), "unregistered": answer.unregistered}
    return asdict(answer)
