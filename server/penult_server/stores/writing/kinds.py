"""What moments were multiplied with: their last bits depend on it, and on nothing else but the rows."""

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np

from penult_proto.notes import NoteId
from penult_server.notes import Note


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A library of products on one kind of processor. All numbers and texts, so that it goes through JSON."""

    backend: str
    """The library of arrays and its version."""
    blas: str
    core: str
    """The processor whose code the BLAS has chosen."""
    threads: int
    """Threads of the BLAS; the bits do not depend on them."""

    @property
    def decides(self) -> tuple[str, str, str]:
        """What the bits depend on."""
        return self.backend, self.blas, self.core


@cache
def kind_here() -> Kind:
    """The kind of this process."""
    # Imported here: most processes that know of sets multiply nothing.
    pools: list[dict[str, Any]] = importlib.import_module("threadpoolctl").threadpool_info()
    found = [one for one in pools if one["user_api"] == "blas"]
    # Other packages may have brought one, too.
    of_numpy = [one for one in found if "numpy" in one["filepath"]] or found
    first: dict[str, Any] = of_numpy[0] if of_numpy else {}
    return Kind(
        backend=f"numpy {np.__version__}",
        blas=f"{first.get('internal_api', 'unknown')} {first.get('version') or ''}".strip(),
        core=str(first.get("architecture", "unknown")),
        threads=int(first.get("num_threads", 1)),
    )


def as_recorded(kinds: Iterable[tuple[int, int, Kind]]) -> tuple[Mapping[str, Any], ...]:
    """What a manifest says: the ranges `first` .. `stop` - 1 of each kind, neighbours of one kind together."""
    runs: list[tuple[int, int, Kind]] = []
    for first, stop, kind in sorted(kinds, key=lambda one: one[0]):
        if runs and runs[-1][2] == kind:
            runs[-1] = (runs[-1][0], stop, kind)
        else:
            runs.append((first, stop, kind))
    return tuple({"first": first, "stop": stop} | asdict(kind) for first, stop, kind in runs)


def notes_of(kinds: Iterable[Kind]) -> tuple[Note, ...]:
    """A note where the moments of one set were made by several kinds."""
    different = sorted({one.decides for one in kinds})
    if len(different) < 2:
        return ()
    listed = "; ".join(", ".join(one) for one in different)
    text = (
        f"the moments of this set were multiplied on {len(different)} kinds of machines ({listed}): extracted again "
        "they are equal to rounding (1e-12), not to the last bit"
    )
    return (Note(NoteId.MOMENTS_OF_SEVERAL_KINDS, text),)
