"""`python -m penult_server store`: the command line of a store on this machine (also reached as `penult store`)."""

import argparse
import json
import logging
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
from penult_server.registry.integrity.collecting import Collected, collect
from penult_server.registry.integrity.moving import copy_registry_to
from penult_server.registry.integrity.place import check_is_file, move_place
from penult_server.registry.jobs import JobTable
from penult_server.status import translate
from penult_server.stores.places.opening import COLLECT_SECONDS, copies_of, store_of
from penult_server.stores.places.serving import prepare_store
from penult_server.stores.removal import remove
from penult_server.upkeep.adopting import adopt_bucket, check_adoptable
from penult_server.upkeep.backup import back_up, restore
from penult_server.upkeep.damage import Verification
from penult_server.upkeep.moving import move_to_bucket
from penult_server.upkeep.options import make_parser
from penult_server.upkeep.repair import repair_store
from penult_server.upkeep.verify import REGISTRY, verify_and_note

EXIT_DAMAGED = 1


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
    return _say(verify_and_note(options.root), as_json=options.json)


def _repair(options: argparse.Namespace) -> int:
    _check_there(options.root)
    check_is_file(
        options.root, "restore the database from a copy of pg_dump's; `penult store verify` looks at the files"
    )
    with _locked(options.root):
        said = repair_store(options.root)
    return _tell(said, as_json=options.json)


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
    return _tell(said, as_json=options.json)


def _adopt(options: argparse.Namespace) -> int:
    check_adoptable(options.root, options.store)
    with _locked(options.root):
        said = adopt_bucket(options.root, options.store, options.store_endpoint, options.lost_root)
    return _tell(said, as_json=options.json)


_COMMANDS = {
    "verify": _verify,
    "repair": _repair,
    "backup": _backup,
    "restore": _restore,
    "gc": _collect,
    "move-registry": _move,
    "move-to-bucket": _move_things,
    "adopt-bucket": _adopt,
}


def _tell(said: list[str], *, as_json: bool) -> int:
    sys.stdout.write(f"{json.dumps(said, indent=1) if as_json else chr(10).join(said)}\n")
    return 0


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
