"""An export from the messages of one read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from penult.results.heads import Head
from penult.results.refits import Refit
from penult.types import ExportFormat
from penult.wire.exports import about, layouts
from penult.wire.exports.card import card
from penult.wire.exports.destination import staged
from penult.wire.exports.heads import IsSameModel, NewHead, new_head
from penult.wire.exports.manifest import StoredManifest, parse_manifest
from penult.wire.exports.receiving import Changes, write_files
from penult_proto.files import ABOUT
from penult_proto.v1 import arrays_pb2, checkpoints_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be written."""

    format: ExportFormat | None
    """None for the library's own."""
    head: Refit | Head | None
    origin: about.Origin
    is_same_model: IsSameModel


def write_export(
    target: Path,
    header: checkpoints_pb2.CheckpointHeader,
    chunks: Iterator[arrays_pb2.ArrayChunk],
    request: Request,
) -> None:
    """Write the directory whole or not at all. Raises `InvalidRequest`, `ServerBug`, and what the call raises."""
    manifest, stored = parse_manifest(header.manifest)
    format = layouts.choose(request.format, manifest)
    head = new_head(request.head, manifest, header.checkpoint.digest, request.is_same_model)
    with staged(target) as staging:
        weights_digest = write_files(
            header,
            chunks,
            staging,
            weights_digest=manifest.weights_digest,
            changes=_changes(format, manifest, head),
        )
        files = {
            one.name: (staging / one.name).read_bytes() for one in header.files if one.name.endswith("config.json")
        }
        for name, content in layouts.configuration(format, manifest, files).items():
            (staging / name).write_bytes(content)
        refit = request.head if isinstance(request.head, Refit) else None
        said = about.about(
            format,
            manifest,
            stored,
            request.origin,
            head=head,
            refit=refit,
            weights_digest=weights_digest,
            metrics=about.measured(request.origin, refit, own_head=head is None),
        )
        (staging / ABOUT).write_text(about.as_text(said), encoding="utf-8")
        (staging / "README.md").write_text(card(said, target.name), encoding="utf-8")


def _changes(format: ExportFormat, manifest: StoredManifest, head: NewHead | None) -> Changes:
    """What the written weights have otherwise than the stored ones."""
    tensors: Mapping[str, bytes] = {} if head is None else head.tensors(manifest)
    # Transformers refuses a file that does not say whose tensors it holds.
    metadata = None if format == "safetensors" else {"format": "pt"}
    return Changes(tensors=tensors, shapes=layouts.head_shapes(format, manifest), metadata=metadata)
