"""What a stored feature set says about itself: `manifest.json`, written last and read first."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_server.errors import ServiceError
from penult_server.notes import Note
from penult_server.records import Attribute, LabelNames
from penult_server.stores.disk.sealed import unsealed
from penult_server.stores.places.opening import files_of
from penult_server.stores.places.store import MANIFEST

FORMAT = 2
"""Number of the layout on disk; a newer one is refused, never guessed at. 2: moments packed in strips."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureManifest:
    """Everything about a feature set but its arrays."""

    digest: str
    n_examples: int
    n_features: int
    dtype: str
    """ "float32" or "float16"."""
    labels: LabelNames
    group_counts: tuple[int, ...]
    """(G,) examples per group."""
    n_logits: int
    """Width of the logits; 0 when there are none."""
    has_head: bool
    has_moments: bool
    feature_kind: str
    """ "pooled" or "uploaded"."""
    checkpoint: str = ""
    dataset: str = ""
    dataset_digest: str = ""
    split: str = ""
    train_shares: tuple[float, ...] = ()
    """(G,) fraction of each group among the training examples; empty when not known."""
    absent_groups: tuple[int, ...] = ()
    """Groups without an example in any split of the dataset; none when not known."""
    attributes: tuple[Attribute, ...] = ()
    """All attributes of the dataset, in the order of the columns of the array `attributes`."""
    created: float
    """Seconds since 1970, UTC."""
    extract_rate: float = 0.0
    """Examples per second of the extraction; 0 when uploaded."""
    stored_bytes: int = 0
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    """sha256 (hex) of every file of the set but this one, by its path relative to the set."""
    notes: tuple[Note, ...] = ()
    """How the labels were read, where that is not obvious."""
    moments_by: tuple[Mapping[str, Any], ...] = ()
    """The libraries and processors that the moments of each range were multiplied with; none without moments."""
    format: int = FORMAT


def read_manifest(directory: Path) -> FeatureManifest:
    """Read it back.

    Raises ServiceError: UNKNOWN_FEATURE_SET when there is no such directory, STORE_CORRUPT when the
    manifest is missing, damaged or another set's, VERSION_MISMATCH when a newer penult wrote it.
    """
    if not directory.is_dir():
        raise _not_stored(directory)
    try:
        return parse_manifest((directory / MANIFEST).read_text(encoding="utf-8"), directory.name)
    except OSError as error:
        if not directory.is_dir():  # deleted just now
            raise _not_stored(directory) from error
        raise _damaged(directory.name, error) from error


def parse_manifest(text: str, digest: str) -> FeatureManifest:
    """The manifest of a set from its text.

    Raises ServiceError: STORE_CORRUPT when it is damaged or another set's, VERSION_MISMATCH when a newer penult wrote
    it.
    """
    try:
        values = unsealed(json.loads(text))
        if values.get("format", 0) > FORMAT:
            raise ServiceError(
                ErrorKind.VERSION_MISMATCH,
                f"feature set {digest} has format {values['format']}, this server reads up to {FORMAT}: upgrade the "
                "server",
            )
        known = {one.name for one in fields(FeatureManifest)}
        labels = LabelNames(**as_tuples(values.pop("labels")))
        attributes = tuple(Attribute(**as_tuples(one)) for one in values.pop("attributes", []))
        notes = tuple(Note(NoteId(one["id"]), one["text"]) for one in values.pop("notes", []))
        plain = as_tuples({key: value for key, value in values.items() if key in known})
        manifest = FeatureManifest(labels=labels, attributes=attributes, notes=notes, **plain)
        if manifest.digest != digest:
            raise ValueError(f"it is that of {manifest.digest}")
        return manifest
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(digest, error) from error


def damaged_files(directory: Path, manifest: FeatureManifest) -> list[str]:
    """Files that are missing or altered, wherever they lie. Raises ServiceError where nothing says where."""
    return files_of(directory).damaged(manifest.files)


def missing_files(directory: Path, manifest: FeatureManifest) -> list[str]:
    """Files that are missing; nothing is read. Raises ServiceError where nothing says where they lie."""
    return files_of(directory).missing(manifest.files)


def _damaged(digest: str, error: Exception) -> ServiceError:
    return ServiceError(
        ErrorKind.STORE_CORRUPT,
        f"the manifest of feature set {digest} is missing or damaged ({error}); extract or upload it again",
        digest=digest,
    )


def _not_stored(directory: Path) -> ServiceError:
    return ServiceError(
        ErrorKind.UNKNOWN_FEATURE_SET, f"feature set {directory.name} is not stored here", digest=directory.name
    )


def as_tuples(values: dict[str, Any]) -> dict[str, Any]:
    """JSON's lists as the tuples they were."""
    return {key: tuple(cast("list[Any]", value)) if isinstance(value, list) else value for key, value in values.items()}
