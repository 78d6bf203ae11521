"""What becomes of the head that the files of a model hold: its classes known by name, or it is not kept."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_server.backbones.catalog import HeadChoice
from penult_server.backbones.classifier import Classifier, FileHead
from penult_server.class_names import Classes, match_classes
from penult_server.errors import ServiceError
from penult_server.notes import Note

_LISTED = 20


def head_for_dataset(classifier: Classifier, choice: HeadChoice, dataset: str, classes: Sequence[str]) -> Classifier:
    """A run's head: that of the files, its rows in the order of the classes, or a fresh one where there is none.

    Raises ServiceError (OTHER_CLASSES) for a head whose classes are unknown, or others than the dataset's.
    """
    found = classifier.found
    if found is None:
        return _noted(classifier, "the head was drawn afresh: the files of the backbone hold none")
    if choice == "new":
        return _noted(classifier, f"the head was drawn afresh; the one of {found.source} was left out")
    if not found.classes or found.weight is None or found.bias is None:
        why = (
            "they do not name its classes"
            if found.n_rows == len(classes)
            else f"dataset {dataset!r} has {len(classes)} classes"
        )
        raise ServiceError(
            ErrorKind.OTHER_CLASSES,
            f"{found.source!r} holds a head of {found.n_rows} rows, and {why}; draw a fresh one with head='new', or "
            "keep it: client.checkpoints.import_(..., classes=[...]) names its rows",
            field="head",
        )
    match = match_classes(
        Classes(names=found.classes, whose=f"the head of {found.source}"),
        Classes(names=tuple(classes), whose=f"dataset {dataset!r}"),
    )
    order = torch.tensor(match.order.tolist())
    kept = classifier.with_head(found.weight[order], found.bias[order])
    noted = _noted(kept, f"the head of {found.source} was kept, its rows known by name")
    return replace(noted, notes=(*noted.notes, *match.notes))


def head_with_classes(classifier: Classifier, classes: Sequence[str], hint: Sequence[str] = ()) -> Classifier:
    """An imported model's head: that of the files as it is, its rows called `classes` in their order.

    Parameters
    ----------
    classes : of the user; empty for those that the files name.
    hint : classes of a dataset, to be shown to whom the order of the rows is asked for.

    Raises ServiceError: WEIGHTS_UNAVAILABLE where the files hold no head; INVALID_ARGUMENT where its classes are not
    named or are not as many as its rows.
    """
    found = classifier.found
    if found is None or found.weight is None or found.bias is None:
        raise ServiceError(
            ErrorKind.WEIGHTS_UNAVAILABLE,
            f"the files hold no head for {classifier.name!r}; draw a fresh one with head='new', for classes=[...] or "
            "for those of a dataset",
            field="head",
        )
    names = rows_of(found, classes, hint)
    text = f"the head of {found.source} was kept: its {found.n_rows} rows are {_listed(names)}"
    if found.classes and tuple(found.classes) != names:
        text += f", which the file calls {_listed(found.classes)}"
    return _noted(classifier.with_head(found.weight, found.bias), text)


def rows_of(found: FileHead, classes: Sequence[str], hint: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of a head's rows, in their order. Raises ServiceError (INVALID_ARGUMENT) where they are not known."""
    if found.n_rows < 2:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"the head in {found.source!r} has one row, and so one logit; save it with two, zeros and that row, which "
            "give the same probabilities",
            field="classes",
        )
    if not classes and not found.classes:
        of_dataset = f"; the dataset's are {list(hint)[:_LISTED]}, in the order of their index" if hint else ""
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"the head in {found.source!r} has {found.n_rows} rows, and nobody says which class each is: give "
            f"classes=[...], {found.n_rows} names in the order of the rows{of_dataset}",
            field="classes",
        )
    names = tuple(classes) or found.classes
    if len(names) != found.n_rows:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"the head in {found.source!r} has {found.n_rows} rows, and classes= names {len(names)}: give as many, "
            "in the order of the rows, or draw a fresh head with head='new'",
            field="classes",
        )
    if names != found.classes and sorted(names) == sorted(found.classes):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"classes= gives the names of the file in another order: {found.source!r} calls its rows "
            f"{_listed(found.classes)}, in this order; leave classes= out",
            field="classes",
        )
    return names


def _noted(classifier: Classifier, text: str) -> Classifier:
    return replace(classifier, notes=(*classifier.notes, Note(NoteId.HEAD_OF_FILE, text)))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_LISTED])
    return shown + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
