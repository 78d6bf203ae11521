"""Write `penult.aio.twins` from the source of the synchronous client: ``python -m penult.aio.generate``.

A method that has a deadline, ``timeout=``, asks the server and becomes a coroutine; any other stays as it is.
Signatures are copied from the source, with the names that their types need; docstrings are the first line, and where
the rest is.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from penult.calls.catalog.groupings import Groupings
from penult.calls.catalog.results import Results
from penult.calls.checkpoints import Checkpoints
from penult.calls.datasets import Datasets
from penult.calls.features import FeatureSets
from penult.calls.job import Job
from penult.calls.job_group import JobGroup
from penult.calls.jobs import Jobs
from penult.calls.runs import Runs
from penult.client import Client

WHERE = Path(__file__).parent / "twins"
COLLECTIONS = (Checkpoints, Datasets, FeatureSets, Groupings, Jobs, Results, Runs)
ATTRIBUTES = {
    "checkpoints": Checkpoints,
    "datasets": Datasets,
    "features": FeatureSets,
    "groupings": Groupings,
    "runs": Runs,
    "jobs": Jobs,
    "results": Results,
}
TWINNED = {"Job", "JobGroup"}
"""Names that mean the twin, wherever they stand in a signature."""
UNTYPED = "# pandas has no stubs of its own.\n# pyright: reportMissingTypeStubs=false\n\n"
NOW = "now: "
"""Before the import of a name that a default value needs."""
OPEN = """
    async def close(self) -> None:
        \"\"\"End the connection; see `penult.Client.close`.\"\"\"
        await awaited(self.sync.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
"""
GROUP = """
    def __iter__(self) -> Iterator[Job[T]]:
        return (Job(one) for one in self.sync)

    def __len__(self) -> int:
        return len(self.sync)

    def __getitem__(self, index: int) -> Job[T]:
        return Job(self.sync[index])
"""


@dataclass(slots=True)
class Source:
    """A module of the synchronous client, parsed."""

    module: ModuleType
    tree: ast.Module = field(init=False)

    def __post_init__(self) -> None:
        self.tree = ast.parse(inspect.getsource(self.module))

    def methods(self, owner: str, name: str) -> list[ast.FunctionDef]:
        """The definitions of a method, those of its overloads first."""
        found = next(one for one in self.tree.body if isinstance(one, ast.ClassDef) and one.name == owner)
        return [one for one in found.body if isinstance(one, ast.FunctionDef) and one.name == name]

    def where(self, name: str) -> str | None:
        """The line that imports a name into this module, or from it; None of one that Python has."""
        for one in ast.walk(self.tree):
            if isinstance(one, ast.Import) and (known := [part for part in one.names if part.asname == name]):
                return f"import {known[0].name} as {name}"
            if isinstance(one, ast.ImportFrom) and any((part.asname or part.name) == name for part in one.names):
                part = next(part for part in one.names if (part.asname or part.name) == name)
                return f"from {one.module} import {part.name}{f' as {part.asname}' if part.asname else ''}"
        found = getattr(self.module, name, None)
        if isinstance(found, ModuleType):
            return f"import {found.__name__}" + ("" if found.__name__ == name else f" as {name}")
        return f"from {self.module.__name__} import {name}" if found is not None else None


def written() -> dict[str, str]:
    """The modules, by the names of their files."""
    names = {kind.__name__: f"{kind.__module__}.{kind.__name__}" for kind in COLLECTIONS}
    made = {"jobs.py": _module("Jobs, and several of them.", (Job, JobGroup), extra=_TWINS)}
    for kind in COLLECTIONS:
        made[f"of_{kind.__name__.lower()}.py"] = _module(f"`{names[kind.__name__]}`, awaited.", (kind,))
    made["client.py"] = _module("The client, awaited.", (Client,))
    made["__init__.py"] = (
        '"""Classes that stand for those of the synchronous client. Made by ``python -m penult.aio.generate``."""\n'
    )
    return made


_TWINS = """

TWINS.update({sync.Job: Job, group.JobGroup: JobGroup})
"""


def _module(about: str, kinds: tuple[type[Any], ...], extra: str = "") -> str:
    imports: set[str] = set()
    body = "".join(_class(kind, imports) for kind in kinds)
    is_jobs = Job in kinds
    at_run_time = [
        "from penult.aio.running import TWINS, Twin, awaited, waited"
        if is_jobs
        else "from penult.aio.running import Twin, awaited"
    ]
    if is_jobs:
        imports -= {line for line in imports if line.endswith((" import Job", " import JobGroup"))}
        at_run_time += ["from penult.calls import job as sync", "from penult.calls import job_group as group"]
    else:
        imports = {line for line in imports if not line.endswith((" import Job", " import JobGroup"))}
        if any(f"{name}[" in body for name in TWINNED):
            used = ", ".join(sorted(name for name in TWINNED if f"{name}[" in body))
            imports.add(f"from penult.aio.twins.jobs import {used}")
        kind = kinds[0]
        at_run_time.append(f"from {kind.__module__} import {kind.__name__} as Sync{kind.__name__}")
    if Client in kinds:
        imports -= {line for line in imports if line.startswith("from penult.aio.twins.jobs")}
        at_run_time.append("from penult.aio.twins.jobs import Job, JobGroup")
        at_run_time += [
            f"from penult.aio.twins.of_{kind.__name__.lower()} import {kind.__name__}" for kind in COLLECTIONS
        ]
        imports |= {"from types import TracebackType", "from typing import Self"}
    if is_jobs:
        at_run_time.append("from typing import TypeVar")
        imports.add("from collections.abc import Iterator")
        body = f'T = TypeVar("T")\n\n{body}'
        imports -= {"from typing import Any", "from typing import TypeVar", "from penult.calls.job import T"}
    now = {line.removeprefix(NOW) for line in imports if line.startswith(NOW)}
    at_run_time += sorted(now)
    imports = {line for line in imports if not line.startswith(NOW)} - now
    lines = "\n".join(f"    {line}" for line in sorted(imports))
    typed = f"\nif TYPE_CHECKING:\n{lines}\n" if lines else ""
    checking = "from typing import TYPE_CHECKING\n" if lines else ""
    return (
        f'"""{about} Made by ``python -m penult.aio.generate``."""\n\n{UNTYPED}from __future__ import annotations\n\n'
        f"{checking}{chr(10).join(at_run_time)}\n{typed}\n{body}{extra}"
    )


def _class(kind: type[Any], imports: set[str]) -> str:
    sync = {Job: "sync.Job[T]", JobGroup: "group.JobGroup[T]"}.get(kind, f"Sync{kind.__name__}")
    base = f"Twin[{sync}]"
    first = (inspect.getdoc(kind) or "").splitlines()[0]
    parts = [f'\nclass {kind.__name__}({base}):\n    """{first}"""\n']
    if kind is Client:
        parts.append(_collections())
    for name, member in sorted(_public(kind).items()):
        parts.append(_property(kind, name, imports) if isinstance(member, property) else _method(kind, name, imports))
    if kind is Client:
        parts.append(OPEN)
    if kind is JobGroup:
        parts.append(GROUP)
    return "".join(parts)


def _public(kind: type[Any]) -> dict[str, Any]:
    members = {name: member for name, member in inspect.getmembers(kind) if not name.startswith("_")}
    return {
        name: member
        for name, member in members.items()
        if (inspect.isfunction(member) or isinstance(member, property)) and not (kind is Client and name == "close")
    }


def _collections() -> str:
    lines = [f"        self.{name} = {kind.__name__}(sync.{name})" for name, kind in ATTRIBUTES.items()]
    return (
        "\n    def __init__(self, sync: SyncClient) -> None:\n        super().__init__(sync)\n"
        + "\n".join(lines)
        + "\n"
    )


def _defined(kind: type[Any], name: str) -> tuple[Source, list[ast.FunctionDef]]:
    owner = next(one for one in kind.__mro__ if name in vars(one))
    source = Source(sys.modules[owner.__module__])
    return source, source.methods(owner.__name__, name)


def _property(kind: type[Any], name: str, imports: set[str]) -> str:
    source, found = _defined(kind, name)
    returns = _type(found[0].returns, source, imports)
    first = (ast.get_docstring(found[0]) or "").splitlines()[0]
    return (
        f'\n    @property\n    def {name}(self) -> {returns}:\n        """{first}"""\n        return self.sync.{name}\n'
    )


def _method(kind: type[Any], name: str, imports: set[str]) -> str:
    source, found = _defined(kind, name)
    *overloads, last = found
    asks = any(one.arg == "timeout" for one in (*last.args.args, *last.args.kwonlyargs))
    said = "".join(_signature(one, source, imports, asks=asks, is_overload=True) for one in overloads)
    if overloads:
        imports.add(f"{NOW}from typing import overload")
    body = _signature(last, source, imports, asks=asks)
    first = (ast.get_docstring(last) or "").splitlines()[0]
    called = f"self.sync.{name}"
    given = ", ".join(
        [*(one.arg for one in last.args.args[1:]), *(f"{one.arg}={one.arg}" for one in last.args.kwonlyargs)]
    )
    if last.args.kwarg:
        given += f", **{last.args.kwarg.arg}"
    owner = kind.__name__ if kind in (Client, Job, JobGroup) else next(n for n, k in ATTRIBUTES.items() if k is kind)
    told = f'        """{first}\n\n        As `{owner}.{name}` of the synchronous client.\n        """\n'
    if not asks:
        return f"{said}{body}{told}        return {called}({given})\n"
    how = "waited" if name == "wait" else "awaited"
    return f"{said}{body}{told}        return await {how}({called}{', ' if given else ''}{given})  # pyright: ignore\n"


def _signature(
    function: ast.FunctionDef, source: Source, imports: set[str], *, asks: bool, is_overload: bool = False
) -> str:
    arguments = [ast.unparse(one) for one in _plain_arguments(function.args)]
    for one in _annotations(function):
        _type(one, source, imports)
    for default in (*function.args.defaults, *function.args.kw_defaults):
        imports |= {f"{NOW}{line}" for line in _lines(default, source)}
    returns = _type(function.returns, source, imports)
    keyword = "async def" if asks else "def"
    mark = "    @overload\n" if is_overload else ""
    end = " ...\n" if is_overload else "\n"
    return f"\n{mark}    {keyword} {function.name}({', '.join(arguments)}) -> {returns}:{end}"


def _plain_arguments(given: ast.arguments) -> Iterator[ast.arguments]:
    """The arguments, their types without quotes."""
    for one in (*given.args, *given.kwonlyargs, *([given.kwarg] if given.kwarg else [])):
        if isinstance(one.annotation, ast.Constant):
            one.annotation = ast.parse(str(one.annotation.value), mode="eval").body
    yield given


def _annotations(function: ast.FunctionDef) -> Iterator[ast.expr]:
    given = function.args
    for one in (*given.args, *given.kwonlyargs, *([given.kwarg] if given.kwarg else [])):
        if one.annotation is not None:
            yield one.annotation


def _type(annotation: ast.expr | None, source: Source, imports: set[str]) -> str:
    """A type as text; what its names come from is added to `imports`."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if annotation is None:
        return "None"
    imports |= _lines(annotation, source)
    return ast.unparse(annotation)


def _lines(node: ast.expr | None, source: Source) -> set[str]:
    """What imports the names of an expression."""
    names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)} if node is not None else set[str]()
    return {line for name in names - {"T"} if (line := source.where(name))}


def main() -> None:
    """Write the files."""
    WHERE.mkdir(exist_ok=True)
    for name, content in written().items():
        (WHERE / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
