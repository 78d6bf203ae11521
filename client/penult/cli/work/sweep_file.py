"""A file of finetunings, in TOML: what they have in common, a grid, and a list."""

import itertools
import tomllib
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from penult.cli.work.arguments import joined
from penult.errors import PenultError, from_kind, invalid
from penult.wire.recipes import check_names, finetuning
from penult_proto.fields.finetune import GROUPS

SECTIONS = ("common", "grid", "runs")


@dataclass(frozen=True, slots=True)
class Request:
    """One finetuning of a file."""

    flat: Mapping[str, Any]
    """What the file says, options as dotted names such as ``optimizer.learning_rate``."""
    arguments: dict[str, Any]
    """The arguments of `Client.finetune`."""


def read_sweep(path: Path) -> list[Request]:
    """Every finetuning that a file asks for, checked as far as that goes without a server.

    Each entry of ``[[runs]]`` (one without anything where there is none) is combined with each combination of
    ``[grid]``, the last key of which runs fastest; both take precedence over ``[common]``.

    Raises `InvalidRequest`, saying where.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise invalid(f"{path} is no TOML: {error}") from None
    if others := [name for name in content if name not in SECTIONS]:
        raise invalid(f"{path} has [common], [grid] and [[runs]]; got {', '.join(others)}")
    common, grid = (_flat(path, name, content.get(name, {})) for name in ("common", "grid"))
    runs = content.get("runs", [{}])
    if not isinstance(runs, list) or not runs:
        raise invalid(f"{path}: runs are written as tables, each under [[runs]]")
    requests: list[Request] = []
    for index, entry in enumerate(cast("list[Any]", runs)):
        own = _flat(path, f"runs, entry {index + 1}", entry)
        if both := [name for name in own if name in grid]:
            raise invalid(f"{path}: {', '.join(both)} stands in the grid and in entry {index + 1} of the runs")
        requests.extend(_request(path, {**common, **own, **point}) for point in _points(path, grid))
    cards = [_checked(path, request) for request in requests]
    check_names(cards)
    return requests


def _flat(path: Path, section: str, table: Any) -> dict[str, Any]:
    """A table with dotted names for what stands in the tables of topics. Raises `InvalidRequest`."""
    if not isinstance(table, dict):
        raise invalid(f"{path}: {section} must be a table; got {table!r}")
    found: dict[str, Any] = {}
    for name, value in cast("dict[str, Any]", table).items():
        if name.partition(".")[0] in GROUPS and "." in name:
            found[name] = value
        elif name in GROUPS:
            if not isinstance(value, dict):
                raise invalid(f"{path}, {section}: {name} has options, such as {name}.class; got {value!r}")
            found |= {f"{name}.{option}": one for option, one in cast("dict[str, Any]", value).items()}
        else:
            found[name] = value
    return found


def _points(path: Path, grid: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every combination of a grid's values. Raises `InvalidRequest` for what is no list, or an empty one."""
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise invalid(f"{path}, grid: {name} takes a list of values, such as [1, 2]; got {values!r}")
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _request(path: Path, flat: dict[str, Any]) -> Request:
    topics: dict[str, dict[str, Any]] = {}
    for name, value in flat.items():
        argument, _, option = name.partition(".")
        if argument in GROUPS:
            topics.setdefault(argument, {})[option] = value
    plain = {name: value for name, value in flat.items() if name.partition(".")[0] not in GROUPS}
    with about(path, flat):
        return Request(flat, plain | joined(topics, plain.get("recipe")))


def _checked(path: Path, request: Request) -> Any:
    """What is said of a finetuning. Raises `InvalidRequest`."""
    with about(path, request.flat):
        return finetuning(request.arguments)[1]


@contextmanager
def about(path: Path, flat: Mapping[str, Any]) -> Generator[None]:
    """Errors within say which finetuning of the file they are about."""
    try:
        yield
    except PenultError as error:
        where = f"{path}, {', '.join(f'{name} = {value!r}' for name, value in flat.items())}"
        raise from_kind(error.kind, f"{where}: {error.message}", error.metadata) from None
