"""A registered dataset on disk, and its examples opened again.

A dataset's directory is named by its digest and holds

* `manifest.json`: modality, names of classes, attributes, splits and masks;
* `labels.npz`: row_id, y, a, masks and the split of each example; of images each file's sha256 and size, of texts
  where each ends;
* `texts.utf8`: all texts one after the other, empty for images;
* `registration.json`: name, description, notes, and for images the directory and the path of each file.

All but the last never change. The last says where the content was found, and is replaced when the same
content is registered again under another name or in another place.
"""

import hashlib
import io
import stat
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_server.datasets.examples import LazyExamples
from penult_server.datasets.images import ImageError, decode_image
from penult_server.datasets.model import Dataset, DatasetInfo, Example, Modality, SplitLabels, TextPair
from penult_server.errors import ServiceError
from penult_server.named.opening import open_regular
from penult_server.notes import Note
from penult_server.records import Attribute
from penult_server.stores.disk.durable import write_file
from penult_server.stores.disk.sealed import read_sealed, sealed_text

FORMAT = 2
MANIFEST_FILE = "manifest.json"
LABELS_FILE = "labels.npz"
TEXTS_FILE = "texts.utf8"
REGISTRATION_FILE = "registration.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a dataset is, besides its arrays and texts."""

    digest: str
    modality: Modality
    classes: Sequence[str]
    attributes: Sequence[Attribute]
    splits: Sequence[str]
    masks: Sequence[str]
    texts_sha256: str
    """sha256 (hex) of the file of texts."""
    labels_sha256: str = ""
    """sha256 (hex) of the file of arrays; empty for datasets of earlier versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """Under what name, and where, the content was registered."""

    name: str
    description: str
    notes: Sequence[Note]
    directory: str
    """Directory that the paths start from: absolute, or within that of the dataset."""
    paths: Sequence[str]
    """Path of each of the N images; empty for texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelArrays:
    """One row per example, in the order in which they were registered."""

    row_id: NDArray[np.uint64]
    y: NDArray[np.int64]
    a: NDArray[np.int64]
    masks: NDArray[np.bool_]
    """(N, M)."""
    split_index: NDArray[np.int64]
    sha256: NDArray[np.uint8]
    """(N, 32) sha256 of each image file; (0, 32) for texts."""
    n_bytes: NDArray[np.int64]
    """(N,) size of each image file; (0,) for texts."""
    text_ends: NDArray[np.int64]
    """(k, N) where in the file of texts each text ends, k = 2 for pairs; (0, 0) for images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextBytes:
    """k columns of N texts in UTF-8, one after the other, column by column."""

    content: bytes
    ends: NDArray[np.int64]
    """(k, N) where in `content` each text ends; the next one begins there."""

    def text(self, column: int, row: int) -> str:
        """One text."""
        ends, place = self.ends.ravel(), column * self.ends.shape[1] + row
        return self.content[int(ends[place - 1]) if place else 0 : int(ends[place])].decode()

    def example(self, row: int) -> str | TextPair:
        """The text of a row, or its pair."""
        if len(self.ends) == 2:
            return self.text(0, row), self.text(1, row)
        return self.text(0, row)


def write_content(directory: Path, manifest: Manifest, labels: LabelArrays, texts: TextBytes) -> None:
    """Write what never changes into a directory that is being staged."""
    (directory / TEXTS_FILE).write_bytes(texts.content)
    np.savez(directory / LABELS_FILE, **{one.name: getattr(labels, one.name) for one in fields(labels)})
    labels_sha256 = hashlib.sha256((directory / LABELS_FILE).read_bytes()).hexdigest()
    document = {"format": FORMAT} | asdict(replace(manifest, labels_sha256=labels_sha256))
    (directory / MANIFEST_FILE).write_text(sealed_text(document, indent=None), encoding="utf-8")


def write_registration(directory: Path, registration: Registration) -> None:
    """Write or replace what may change, in one step."""
    write_file(directory / REGISTRATION_FILE, sealed_text(asdict(registration), indent=None).encode())


class RegisteredDataset:
    """A registered dataset, opened from its directory, under `name` or the name it was given last.

    Raises ServiceError: STORE_CORRUPT when the directory is not what `register` wrote; UNKNOWN_DATASET without one.
    """

    def __init__(self, directory: Path, name: str = "") -> None:
        try:
            manifest = _read_manifest(directory)
            registration = _read_registration(directory)
            labels = _read_labels(directory, manifest)
            texts = _read_texts(directory, manifest, labels)
            self._rows = {split: np.flatnonzero(labels.split_index == i) for i, split in enumerate(manifest.splits)}
            self._info = _describe(name or registration.name, manifest, registration, labels, self._rows)
        except (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile) as error:
            if not directory.exists():
                raise ServiceError(
                    ErrorKind.UNKNOWN_DATASET,
                    f"dataset {directory.name[:12]} was deleted while it was being read",
                    digest=directory.name,
                ) from error
            raise ServiceError(
                ErrorKind.STORE_CORRUPT,
                f"the dataset in {directory} cannot be read ({error}); delete it and register again",
                directory=directory,
            ) from error
        self._labels = labels
        self._texts = texts
        self._paths = registration.paths
        self._base = directory.absolute() / registration.directory

    @property
    def info(self) -> DatasetInfo:
        return self._info

    def examples(self, split: str) -> LazyExamples:
        """The examples of a split, read and checked when indexed.

        Raises ServiceError (UNKNOWN_SPLIT); indexing an image raises FILES_MISSING, DATASET_CHANGED or
        CORRUPT_IMAGE.
        """
        n_examples = len(self._info.split(split))
        return LazyExamples(partial(self._open, split), range(n_examples))

    def check_files(self, split: str) -> None:
        """Check that every file of a split is there and has the size it had; reads none of them.

        Raises ServiceError: UNKNOWN_SPLIT, FILES_MISSING, DATASET_CHANGED.
        """
        self._info.split(split)
        if self._info.modality == "text":
            return
        for row in self._rows[split]:
            self._check_size(int(row))

    def damaged_within(self, directory: Path) -> list[str]:
        """Files below a directory that are not what was registered; a user's own files elsewhere are not looked at."""
        if not self._base.is_relative_to(directory.resolve()):
            return []
        return [self._paths[row] for row in range(len(self._paths)) if not self._is_unchanged(row)]

    def _is_unchanged(self, row: int) -> bool:
        try:
            self._read_unchanged(row)
        except ServiceError:
            return False
        return True

    def _open(self, split: str, index: int) -> Example:
        row = int(self._rows[split][index])
        if self._info.modality == "text":
            return self._texts.example(row)
        content = self._read_unchanged(row)
        try:
            return decode_image(content)
        except ImageError as error:
            raise self._error(ErrorKind.CORRUPT_IMAGE, row, f"cannot be decoded: {error}") from error

    def _read_unchanged(self, row: int) -> bytes:
        """The bytes of an image, if they are those that were registered."""
        try:
            with open_regular(self._path(row), int(self._labels.n_bytes[row])) as opened:
                content = opened.read()
        except OSError as error:
            raise self._missing(row, error) from error
        except ServiceError as error:  # it has grown
            raise self._changed(row) from error
        if hashlib.sha256(content).digest() != self._labels.sha256[row].tobytes():
            raise self._changed(row)
        return content

    def _check_size(self, row: int) -> None:
        try:
            status = self._path(row).stat()
        except OSError as error:
            raise self._missing(row, error) from error
        if not stat.S_ISREG(status.st_mode) or status.st_size != self._labels.n_bytes[row]:
            raise self._changed(row)

    def _path(self, row: int) -> Path:
        return self._base / self._paths[row]

    def _missing(self, row: int, error: OSError) -> ServiceError:
        return self._error(
            ErrorKind.FILES_MISSING, row, f"cannot be read ({error.strerror}); put it back, or register again"
        )

    def _changed(self, row: int) -> ServiceError:
        return self._error(
            ErrorKind.DATASET_CHANGED,
            row,
            "is not the file that was registered; put it back, or register again",
        )

    def _error(self, kind: ErrorKind, row: int, what: str) -> ServiceError:
        row_id = int(self._labels.row_id[row])
        path = self._path(row)
        return ServiceError(
            kind,
            f"dataset {self._info.name!r}, row id {row_id}: {path} {what}",
            dataset=self._info.name,
            row_id=row_id,
            file=path,
        )


def check_files(dataset: Dataset, splits: Sequence[str]) -> None:
    """Check that every file of some splits is still there, to fail before work begins and not within.

    Looks at existence and size only; content is checked when an example is opened. A dataset without
    files of the user's passes.

    Raises ServiceError: UNKNOWN_SPLIT, FILES_MISSING, DATASET_CHANGED.
    """
    for split in splits:
        dataset.info.split(split)
        if isinstance(dataset, RegisteredDataset):
            dataset.check_files(split)


def _read_manifest(directory: Path) -> Manifest:
    document = read_sealed(directory / MANIFEST_FILE)
    if (found := document.pop("format")) != FORMAT:
        raise ValueError(f"its format is {found}, this version reads {FORMAT}")
    named = document.pop("attributes")
    attributes = [Attribute(name=item["name"], values=tuple(item["values"])) for item in named]
    manifest = Manifest(attributes=attributes, **document)
    if manifest.digest != directory.name:
        raise ValueError(f"{MANIFEST_FILE} is that of {manifest.digest}")
    return manifest


def _read_registration(directory: Path) -> Registration:
    document = read_sealed(directory / REGISTRATION_FILE)
    notes = [_note(one) for one in document.pop("notes")]
    return Registration(notes=notes, **document)


def _note(stored: Any) -> Note:
    """A stored note; one of the first format has no kind and is about published counts."""
    if isinstance(stored, str):
        return Note(NoteId.UNLIKE_PUBLISHED, stored)
    return Note(NoteId(stored["id"]), stored["text"])


def _read_labels(directory: Path, manifest: Manifest) -> LabelArrays:
    content = (directory / LABELS_FILE).read_bytes()
    if manifest.labels_sha256 and hashlib.sha256(content).hexdigest() != manifest.labels_sha256:
        raise ValueError(f"{LABELS_FILE} is not what was written")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return LabelArrays(**{name: arrays[name] for name in arrays.files})


def _read_texts(directory: Path, manifest: Manifest, labels: LabelArrays) -> TextBytes:
    content = (directory / TEXTS_FILE).read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest.texts_sha256:
        raise ValueError(f"{TEXTS_FILE} is not what was written")
    return TextBytes(content=content, ends=labels.text_ends)


def _describe(
    name: str,
    manifest: Manifest,
    registration: Registration,
    labels: LabelArrays,
    rows: dict[str, NDArray[np.int64]],
) -> DatasetInfo:
    return DatasetInfo(
        name=name,
        digest=manifest.digest,
        modality=manifest.modality,
        classes=tuple(manifest.classes),
        attributes=tuple(manifest.attributes),
        splits={
            name: SplitLabels(
                row_id=labels.row_id[index], y=labels.y[index], a=labels.a[index], masks=labels.masks[index]
            )
            for name, index in rows.items()
        },
        description=registration.description,
        masks=tuple(manifest.masks),
        notes=tuple(registration.notes),
    )
