"""The tensors of a file by their names: safetensors, or ``torch.save`` of tensors alone or among other things."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# safetensors annotates its tensors in part.

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from safetensors import SafetensorError, safe_open
from torch import Tensor

from penult_proto.errors import ErrorKind
from penult_proto.limits import MOST_FILE_BYTES
from penult_proto.notes import NoteId
from penult_server.backbones.files.pickles import Foreign, StoredTensor, UnreadableError
from penult_server.backbones.files.pytorch import PyTorchFile, read_pytorch
from penult_server.errors import ServiceError
from penult_server.named.roots import open_named
from penult_server.notes import Note

ForeignObjects = Literal["refuse", "ignore"]
MOST_TENSORS = 20_000
"""Most tensors of one file."""
PLACES = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "state_dict", "model_state_dict", "model_dict"),
    *("model", "algorithm", "net", "network", "module", "weights"),
)
"""Keys under which programs save the weights (timm, DeiT, Lightning, SubpopBench, WILDS), averaged ones first."""
_CLASSES = ("class_names", "label_names", "classes")
_LISTED = 12
"""Most keys or names in one message."""
_SAFETENSORS = re.compile(rb".{8}\s*\{", re.DOTALL)
SAVE = "torch.save(model.state_dict(), path)"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FileTensors:
    """What a file of weights holds."""

    tensors: Mapping[str, Tensor]
    source: str
    """The file, for messages."""
    classes: tuple[str, ...] = ()
    """Names of classes that stand beside the tensors."""
    notes: tuple[Note, ...] = ()


def read_tensors(path: Path, foreign_objects: ForeignObjects = "refuse", *, source: str = "") -> FileTensors:
    """Read a file; nothing in it is run.

    Parameters
    ----------
    foreign_objects : what to do about objects of other kinds than tensors: refuse the file, or leave them out.
    source : what the file is called in messages; its path by default.

    Raises ServiceError (WEIGHTS_UNAVAILABLE), saying what the file is and what to save instead.
    """
    source = source or str(path)
    try:
        with open_named(path, MOST_FILE_BYTES) as opened:
            begins = opened.read(64)
            # By its descriptor: what its name leads to may change meanwhile.
            held = Path(f"/proc/self/fd/{opened.fileno()}")
            if _SAFETENSORS.match(begins):
                return FileTensors(tensors=_read_safetensors(held), source=source)
            return _chosen(read_pytorch(held), foreign_objects, source)
    except (OSError, SafetensorError, UnreadableError) as error:
        raise unreadable(source, str(error)) from error


def unreadable(source: str, why: str) -> ServiceError:
    """The error for a file that is none of the kinds that are read."""
    return ServiceError(
        ErrorKind.WEIGHTS_UNAVAILABLE,
        f"weights cannot be read from {source!r}: {why}; give a safetensors file, or a PyTorch file that holds tensors "
        f"by their names, saved with {SAVE}",
        file=source,
    )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        _check_count(len(names))
        return {name: file.get_tensor(name) for name in names}


def _check_count(count: int) -> None:
    if count > MOST_TENSORS:
        raise UnreadableError(f"it holds {count} tensors, more than {MOST_TENSORS}")


def _chosen(file: PyTorchFile, foreign_objects: ForeignObjects, source: str) -> FileTensors:
    """The weights among what a file holds."""
    place, found = _weights_in(file.content, source)
    if file.foreign and foreign_objects == "refuse":
        raise ServiceError(
            ErrorKind.WEIGHTS_UNAVAILABLE,
            f"{source!r} holds other objects than tensors ({_listed(file.foreign)}), which are never made or run; to "
            "read the tensors beside them, import it with foreign_objects='ignore'; or save the tensors alone: "
            f"{SAVE}",
            file=source,
        )
    stored = {key: value for key, value in found.items() if isinstance(key, str) and isinstance(value, StoredTensor)}
    _check_count(len(stored))
    left = [str(key) for key in found if key not in stored and found[key] is not None]
    notes: list[Note] = []
    if place:
        others = [key for key in PLACES if key != place[0] and isinstance(file.content.get(key), dict)]
        beside = f"; beside it the file holds {', '.join(others)}" if others else ""
        notes.append(Note(NoteId.TENSORS_OF_FILE, f"the weights are {'/'.join(place)!r} of {source}{beside}"))
    if left:
        notes.append(Note(NoteId.TENSORS_OF_FILE, f"{_listed(left)} of {source} are no tensors and were left out"))
    return FileTensors(
        tensors={name: file.tensor(one) for name, one in stored.items()},
        source=source,
        classes=_class_names(file.content),
        notes=tuple(notes),
    )


def _weights_in(content: Any, source: str) -> tuple[tuple[str, ...], dict[Any, Any]]:
    """The dictionary of tensors in what was saved, and the keys that lead to it."""
    place: tuple[str, ...] = ()
    for _ in range(4):
        if isinstance(content, Foreign) and content.is_module:
            raise unreadable(source, f"it is a whole module ({content.kind[:100]}), which only its own code can make")
        if not isinstance(content, dict):
            break
        inner = cast("dict[Any, Any]", content)
        key = _place_in(inner)
        if key is None:
            if any(isinstance(value, StoredTensor) for value in inner.values()):
                return place, inner
            break
        place, content = (*place, key), inner[key]
    what = f"the keys {_listed([str(key) for key in content])}" if isinstance(content, dict) else "no dictionary"
    at = f" under {'/'.join(place)!r}" if place else ""
    raise unreadable(source, f"it holds {what}{at}, and no tensors by their names")


def _place_in(content: dict[Any, Any]) -> str | None:
    """The key under which the weights are; None where they are the values themselves, or nowhere."""
    for key in PLACES:
        value = content.get(key)
        if _holds_tensors(value) or (isinstance(value, Foreign) and value.is_module):
            return key
    if any(isinstance(value, StoredTensor) for value in content.values()):
        return None
    holding = [key for key, value in content.items() if isinstance(key, str) and _holds_tensors(value)]
    return holding[0] if len(holding) == 1 else None


def _holds_tensors(value: Any) -> bool:
    """Whether a value is a dictionary of tensors, or holds one under a usual key."""
    if not isinstance(value, dict):
        return False
    inner = cast("dict[Any, Any]", value)
    if any(isinstance(one, StoredTensor) for one in inner.values()):
        return True
    return any(
        isinstance(inner.get(key), dict) and any(isinstance(one, StoredTensor) for one in inner[key].values())
        for key in PLACES
    )


def _class_names(content: Any) -> tuple[str, ...]:
    """Names of classes beside the weights, as scripts of torchvision's kind save them."""
    if not isinstance(content, dict):
        return ()
    beside = cast("dict[Any, Any]", content)
    for key in _CLASSES:
        names = beside.get(key)
        if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
            return tuple(cast("list[str]", names))
    indices = beside.get("class_to_idx")
    if isinstance(indices, dict):
        pairs = cast("dict[Any, Any]", indices)
        numbered = all(isinstance(name, str) and type(index) is int for name, index in pairs.items())
        if numbered and sorted(pairs.values()) == list(range(len(pairs))):
            return tuple(sorted(pairs, key=lambda name: pairs[name]))
    return ()


def _listed(names: "tuple[str, ...] | list[str]") -> str:
    shown = ", ".join(name[:100] for name in names[:_LISTED])
    return shown + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
