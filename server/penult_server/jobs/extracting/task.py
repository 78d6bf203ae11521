"""The entry `extract_range`: consecutive ranges of a split, from the checkpoint to the files of their chunks.

What it writes lies under the attempt that the order names, and is the same whoever does it, and however often.
"""

import time
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import torch
from google.protobuf import json_format

from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.backbones.classifier import Classifier
from penult_server.backbones.hidden import hidden_width
from penult_server.datasets.stored import check_files
from penult_server.extraction.extract import ExtractionRates, extract_split, load_checkpoint
from penult_server.jobs.extracting.extraction import Extraction, open_extraction
from penult_server.jobs.fleets.fleet import Json, TaskContext
from penult_server.jobs.ranks import choose_device
from penult_server.jobs.reading import allowed
from penult_server.machine.allocator import keep_freed_memory
from penult_server.named.roots import reading
from penult_server.progress import MetricsRecord
from penult_server.stores.checkpoints import CheckpointManifest
from penult_server.stores.places.opening import store_of
from penult_server.stores.writing.header import chunk_shapes, keeps_moments
from penult_server.stores.writing.moments import PartialFiles, RangeMoments, set_ranges
from penult_server.stores.writing.rows import ChunkWriter


def run(order: Json, context: TaskContext) -> dict[str, Any]:
    """Do the ranges `first` .. `stop` - 1 of a split; without a split, say how many features the model has."""
    keep_freed_memory()
    if context.threads:
        torch.set_num_threads(context.threads)
    job = json_format.Parse(order["job"], JobOrder())
    with reading(allowed(job), context.check_cancelled):
        extraction = _opened(order["job"])
        device = choose_device(job.device)
        model = _model(extraction, device)
        if "split" not in order:
            return {"n_features": hidden_width(model, device)}
        if context.threads:  # another process, perhaps on another machine, than the one that has looked already
            check_files(extraction.dataset, [order["split"]])
        return _extracted(extraction, model, device, order, context)


def _extracted(
    extraction: Extraction, model: Classifier, device: torch.device, order: Json, context: TaskContext
) -> dict[str, Any]:
    header = extraction.header(order["split"], order["n_features"])
    attempt = store_of(extraction.root).attempt("features", order["attempt"])
    ranges = set_ranges(header)[order["first"] : order["stop"]]
    rows = range(ranges[0].first, ranges[-1].stop)
    partials = PartialFiles(attempt, header) if keeps_moments(header) else None
    works = [RangeMoments(header, partials.keep).fold] if partials else []
    started = time.perf_counter()
    with ChunkWriter(attempt, header, first=rows.start, n_rows=len(rows), works=works) as writer:
        rates: ExtractionRates = extract_split(
            model,
            extraction.dataset,
            order["split"],
            writer,
            device=device,
            batch_size=extraction.spec.batch_size,
            context=_Heard(context),
            attribute=extraction.spec.attribute,
            feature_kind=extraction.kind,
            classes=extraction.classes,
            rows=rows,
            chunk_rows=chunk_shapes(header)["features"][0][0],
        )
        written = writer.finish()
    return {
        "rows": asdict(written),
        "moments": [asdict(one) for one in partials.finish()] if partials else [],
        "rate": rates.rate if rows else 0.0,
        "seconds": time.perf_counter() - started,
    }


@lru_cache(maxsize=1)
def _opened(job: str) -> Extraction:
    """Kept from task to task."""
    return open_extraction(json_format.Parse(job, JobOrder()))


_MODELS: dict[tuple[str, str, str], Classifier] = {}
"""The model of the last task, which the next one is likely to ask for."""


def _model(extraction: Extraction, device: torch.device) -> Classifier:
    key = (extraction.order.root, extraction.manifest.digest, str(device))
    if key not in _MODELS:
        _MODELS.clear()
        _MODELS[key] = load_checkpoint(extraction.root, extraction.manifest.digest, device)
    return _MODELS[key]


class _Heard:
    """A task's context as the `JobContext` of an extraction."""

    def __init__(self, context: TaskContext) -> None:
        self.check_cancelled = context.check_cancelled
        self._context = context

    def progress(self, stage: str, done: float, total: float, unit: str) -> None:
        self._context.progress(done)

    def metrics(self, record: MetricsRecord) -> None: ...

    def checkpoint(self, manifest: CheckpointManifest) -> None: ...

    def saved(self, amount: float) -> None: ...

    def needed(self, digests: list[str]) -> None: ...
