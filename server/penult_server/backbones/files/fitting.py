"""Tensors of a file put into an architecture: names without what stands before them, and the head wherever it is."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
# timm's filters are untyped.

import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_server.backbones.classifier import Classifier, FileHead
from penult_server.backbones.files.tensors import FileTensors, unreadable
from penult_server.errors import ServiceError
from penult_server.notes import Note

NAMED = 3
"""Most tensors that an error names for each kind of difference."""
_WRAPPER = re.compile(r"(?:(?:_orig_mod|backbone|encoder|model|module|net|network)\.)+")
"""What wrappers put before names; used where no name of the file is the architecture's."""
_COUNTERS = ("num_batches_tracked", "position_ids")
"""Buffers that files of some releases of the libraries have, and others do not."""

State = Mapping[str, Tensor]


@dataclass(slots=True, kw_only=True)
class _Placed:
    """Tensors by the architecture's names, and those that stand apart."""

    tensors: dict[str, Tensor]
    apart: dict[str, Tensor]
    prefix: str
    notes: list[Note] = field(default_factory=list[Note])


def fit(classifier: Classifier, file: FileTensors) -> Classifier:
    """Load all tensors below the head, in place; the file's own head comes with the answer, `found`, and is not loaded.

    Where the names of the file are the architecture's behind a prefix, such as ``model.``, the longest prefix that fits
    is left out. A head may stand beside the body, as ``network.1`` beside ``network.0`` or ``classifier`` beside
    ``backbone``. Names of other releases of an architecture, and position embeddings of other image sizes, are changed
    as timm does for the weights that it offers.

    Raises ServiceError (WEIGHTS_UNAVAILABLE), naming the first tensors missing, unexpected or of another shape; for a
    file of several models that fit; and for a head of several layers.
    """
    own = classifier.module.state_dict()
    head_names = tuple(f"{classifier.head_name}.{part}" for part in ("weight", "bias"))
    body = {name: tensor for name, tensor in own.items() if name not in head_names}
    placed = _place(body, head_names, file)
    tensors = (
        _changed(classifier.module, placed.tensors, file.source) if classifier.library == "timm" else (placed.tensors)
    )
    head = {
        part: tensors.pop(name) for name, part in zip(head_names, ("weight", "bias"), strict=True) if name in tensors
    }
    _check(body, tensors, classifier, file)
    with torch.no_grad():
        for name, tensor in body.items():
            if name in tensors:
                tensor.copy_(tensors[name])
    where = classifier.head_name
    if "weight" not in head:
        where, head = _apart(placed, classifier.n_features, file.source)
    found = _file_head(head, classifier, file)
    notes = [*file.notes, *placed.notes]
    if found is not None and where != classifier.head_name:
        text = f"the head is {where!r} of {file.source}, which stands apart from the body {placed.prefix!r}"
        notes.append(Note(NoteId.HEAD_OF_FILE, f"{text}; it is taken to multiply the pooled features as they are"))
    return classifier.with_file(found, notes)


def _place(body: State, head_names: tuple[str, ...], file: FileTensors) -> _Placed:
    """Choose what stands before the names of the file, and of the architecture, and leave it out."""
    first = {name.split(".", 1)[0] for name in body}
    inners = ("", f"{first.pop()}.") if len(first) == 1 else ("",)
    fitting: dict[tuple[str, str], int] = {}
    for inner in inners:
        wanted = {name.removeprefix(inner): tensor.shape for name, tensor in body.items()}
        for prefix, count in _prefixes(wanted, file.tensors).items():
            fitting[inner, prefix] = count
    most = max(fitting.values(), default=0)
    if most * 2 < len(body):
        # Another release, whose names are changed afterwards, or another architecture.
        return _unwrapped(file)
    best = [one for one, count in fitting.items() if count == most]
    inner, prefix = max(best, key=lambda one: (one[0] == "", len(one[1])))
    under = {name.removeprefix(prefix): name for name in file.tensors if name.startswith(prefix)}
    placed = _Placed(tensors={}, apart={}, prefix=prefix)
    for name, given in under.items():
        # Beside the body of a model without its own prefix, a head has none either.
        is_head = bool(inner) and name in head_names
        placed.tensors[name if is_head else inner + name] = file.tensors[given]
    rivals = [other for _, other in best if other != prefix and not prefix.startswith(other)]
    _check_rivals(rivals, prefix, body, inner, file)
    taken = set(under.values())
    copies = {name for name in file.tensors if any(name.startswith(rival) for rival in rivals)}
    placed.apart = {name: tensor for name, tensor in file.tensors.items() if name not in taken | copies}
    if inner and not placed.apart:
        # The names that the body does not know may be a head's.
        known = set(body) | set(head_names)
        placed.apart = {name: placed.tensors.pop(name) for name in list(placed.tensors) if name not in known}
    if prefix:
        placed.notes.append(Note(NoteId.TENSORS_OF_FILE, f"{prefix!r} before the names of {file.source} was left out"))
    return placed


def _prefixes(wanted: Mapping[str, torch.Size], tensors: State) -> Counter[str]:
    """How many names of the file are wanted, of their shape, behind each prefix."""
    found: Counter[str] = Counter()
    for name, tensor in tensors.items():
        parts = name.split(".")
        for depth in range(min(len(parts), 9)):
            rest = ".".join(parts[depth:])
            if rest in wanted and wanted[rest] == tensor.shape:
                found["".join(f"{part}." for part in parts[:depth])] += 1
    return found


def _unwrapped(file: FileTensors) -> _Placed:
    """Names of another release: without what wrappers put before them all."""
    starts = [match[0] if (match := _WRAPPER.match(name)) else "" for name in file.tensors]
    prefix = min(starts, key=len, default="")
    shared = all(start.startswith(prefix) for start in starts)
    cut = prefix if shared else ""
    return _Placed(tensors={name.removeprefix(cut): one for name, one in file.tensors.items()}, apart={}, prefix=cut)


def _check_rivals(rivals: list[str], prefix: str, body: State, inner: str, file: FileTensors) -> None:
    """Refuse a file of several models, unless they are one that was saved under several names."""
    for rival in rivals:
        for name in body:
            one, other = (file.tensors.get(start + name.removeprefix(inner)) for start in (prefix, rival))
            if one is not None and other is not None and not torch.equal(one, other):
                raise ServiceError(
                    ErrorKind.WEIGHTS_UNAVAILABLE,
                    f"{file.source!r} holds several models of this architecture, under {prefix!r} and {rival!r}; "
                    "save the one that is meant alone",
                    file=file.source,
                )


def _check(body: State, given: State, classifier: Classifier, file: FileTensors) -> None:
    """Raise ServiceError unless the tensors are those of the body."""
    differences = differing(body, given, _ignored(classifier.module))
    if differences:
        raise other_weights(classifier.name, file.source, differences, nearest(given, body, classifier))


def differing(body: State, given: State, ignored: Callable[[str], bool]) -> list[str]:
    """What distinguishes two sets of tensors, in words; empty where they have the same names, shapes and kinds."""
    shared = [key for key in body if key in given]
    kinds = (
        ("are missing", [key for key in body if key not in given and not key.endswith(_COUNTERS)]),
        ("are unexpected", [key for key in given if key not in body and not ignored(key)]),
        (
            "have another shape",
            [
                f"{key} {tuple(given[key].shape)} instead of {tuple(body[key].shape)}"
                for key in shared
                if given[key].shape != body[key].shape
            ],
        ),
        (
            "have another type",
            [
                f"{key} {given[key].dtype} instead of {body[key].dtype}"
                for key in shared
                if given[key].is_floating_point() != body[key].is_floating_point() or given[key].is_complex()
            ],
        ),
    )
    return [
        f"{len(keys)} tensors {what} ({', '.join(keys[:NAMED])}{', ...' if len(keys) > NAMED else ''})"
        for what, keys in kinds
        if keys
    ]


def other_weights(name: str, source: str, differences: list[str], near: str = "") -> ServiceError:
    """The error for tensors that are not those of an architecture."""
    return ServiceError(
        ErrorKind.WEIGHTS_UNAVAILABLE,
        f"the weights in {source!r} are not those of {name!r} below the head: {'; '.join(differences)}; "
        f"give the weights of this architecture, or the architecture of these weights{near}",
        backbone=name,
        file=source,
    )


def nearest(given: State, body: State, classifier: Classifier) -> str:
    """Architectures of timm of the same family whose tensors these are; empty where that is not to be told cheaply."""
    if classifier.library != "timm" or len(body) > 1000:
        return ""
    # Imported here: only an error needs it.
    from penult_server.backbones.files.nearest import nearest_architectures

    names = nearest_architectures(given, like=classifier.name)
    return f" (they look like {', '.join(names)})" if names else ""


def _ignored(module: nn.Module) -> Callable[[str], bool]:
    """Which unexpected tensors the library itself leaves out: counters, and buffers of other releases."""
    patterns = [re.compile(one) for one in getattr(module, "_keys_to_ignore_on_load_unexpected", None) or ()]
    return lambda key: key.endswith(_COUNTERS) or any(pattern.search(key) for pattern in patterns)


def _changed(module: nn.Module, state: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """The tensors changed by timm's own function for weights of the architecture."""
    change: Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]] | None = getattr(
        sys.modules[type(module).__module__], "checkpoint_filter_fn", None
    )
    if change is None:
        return dict(state)
    try:
        with torch.no_grad():
            return dict(change(dict(state), module))
    # The functions expect the names of their own architecture and fail on others in as many ways.
    except (RuntimeError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise unreadable(source, f"they are not of this architecture ({error})") from error


def _apart(placed: _Placed, n_features: int, source: str) -> tuple[str, dict[str, Tensor]]:
    """The one linear layer among the tensors beside the body; nothing where there is none.

    Raises ServiceError for more layers than one, whose order and activations no file tells.
    """
    layers: dict[str, Tensor] = {}
    for name, tensor in sorted(placed.apart.items()):
        is_layer = (tensor.ndim >= 2 and tensor.shape[0] > 0) or tuple(tensor.shape) == (n_features,)
        is_copy = any(tensor.shape == other.shape and torch.equal(tensor, other) for other in layers.values())
        if is_layer and tensor.is_floating_point() and not is_copy and not name.endswith(".bias"):
            layers[name] = tensor
    if not any(tensor.ndim == 2 and tensor.shape[1] == n_features for tensor in layers.values()):
        return "", {}
    if len(layers) > 1:
        raise ServiceError(
            ErrorKind.WEIGHTS_UNAVAILABLE,
            f"the head in {source!r} is not one linear layer: beside the body it holds {', '.join(list(layers)[:8])}; "
            "the head here is one linear layer of the pooled features: draw a fresh one with head='new'",
            file=source,
        )
    ((name, weight),) = layers.items()
    where = name.rpartition(".")[0]
    bias = placed.apart.get(f"{where}.bias" if where else "bias")
    return where or "weight", {"weight": weight} | ({} if bias is None else {"bias": bias})


def _file_head(head: Mapping[str, Tensor], classifier: Classifier, file: FileTensors) -> FileHead | None:
    """The head of the file, (C, D) and (C,), float32; a layer without bias has zeros."""
    if "weight" not in head:
        return None
    weight = head["weight"].flatten(start_dim=1) if head["weight"].ndim > 1 else head["weight"][None]
    bias = head.get("bias", torch.zeros(len(weight)))
    if weight.shape[1] != classifier.n_features or bias.shape != weight.shape[:1]:
        shapes = f"{tuple(weight.shape)} and {tuple(bias.shape)}"
        raise ServiceError(
            ErrorKind.WEIGHTS_UNAVAILABLE,
            f"the head in {file.source!r} has the shapes {shapes}; expected (C, {classifier.n_features}) and (C,), for "
            f"{classifier.n_features} pooled features of {classifier.name!r}",
            file=file.source,
        )
    names = file.classes if len(file.classes) == len(weight) else ()
    return FileHead(n_rows=len(weight), classes=names, weight=weight.float(), bias=bias.float(), source=file.source)
