"""One pass of a checkpoint over a split: features, logits and labels, in the order of the rows.

Three things run at once: a thread prepares the next batch, this one runs the model, a thread hands the last
batch to the sink. None of them uses torch beside the model's thread, whose cores they would take.
"""

import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from penult_proto.errors import ErrorKind
from penult_server.backbones.classifier import Classifier, memory_errors
from penult_server.backbones.hidden import forward_with_hidden
from penult_server.backbones.inputs import batches_by_chunk, one_ahead, open_inputs
from penult_server.backbones.saving import load_checkpoint
from penult_server.class_names import Match
from penult_server.datasets.model import Dataset
from penult_server.errors import ServiceError
from penult_server.extraction.identity import FeatureKind
from penult_server.progress import JobContext

__all__ = ["ExtractionRates", "RowSink", "extract_split", "load_checkpoint"]


class RowSink(Protocol):
    """Takes rows in order, any number a call. `FeatureWriter` is one."""

    def append(
        self,
        *,
        features: NDArray[np.float32],
        y: NDArray[np.int64],
        a: NDArray[np.int64],
        row_id: NDArray[np.uint64],
        logits: NDArray[np.float32],
        attributes: NDArray[np.int64] | None,
        masks: NDArray[np.bool_] | None,
    ) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionRates:
    """How fast a pass was. NaN for an empty split."""

    rate: float
    """Examples per second of the whole pass."""
    bare_rate: float
    """Examples per second of the forward passes alone, over the same batches."""


@torch.inference_mode()
def extract_split(
    classifier: Classifier,
    dataset: Dataset,
    split: str,
    sink: RowSink,
    *,
    device: torch.device,
    batch_size: int,
    context: JobContext,
    attribute: str = "",
    feature_kind: FeatureKind = "pooled",
    classes: Match | None = None,
    rows: range | None = None,
    chunk_rows: int = 0,
    done: int = 0,
    total: int = 0,
) -> ExtractionRates:
    """Run the model once over a split, in eval mode and float32, and append every row to the sink.

    Batches begin anew at every chunk of the store: a row's bits may depend on the size of its batch, which is then the
    same for whoever extracts the chunk, alone or after others.

    Parameters
    ----------
    classifier : on `device`.
    attribute : whose values become `a`; empty for the dataset's first.
    feature_kind : "pooled", what the head reads, or "flat", the last hidden state, flattened.
    classes : of the model to those of the dataset, in whose order the logits are given; None for one order.
    rows : of the split, from the first of a chunk on; None for all.
    chunk_rows : rows of a chunk of the store; 0 for one chunk.
    done, total : examples of the whole job before these, and in all (0: these are the whole job).

    Raises
    ------
    ServiceError : UNKNOWN_SPLIT, ATTRIBUTE_MISSING, INVALID_ARGUMENT (a model for another kind of example, a batch
        size below 1), CANCELLED, OUT_OF_MEMORY, and whatever opening an example or the sink raises.
    """
    _check_batch_size(batch_size)
    inputs = open_inputs(dataset, split, classifier.preprocessing)
    labels = dataset.info.split(split)
    a = np.ascontiguousarray(labels.a[:, dataset.info.attribute_column(attribute)])
    forward = forward_with_hidden if feature_kind == "flat" else Classifier.forward_with_features
    rows = range(len(inputs)) if rows is None else rows
    positions = batches_by_chunk(rows, chunk_rows or len(inputs), batch_size)
    classifier.module.eval()
    forward_seconds = 0.0
    started = time.perf_counter()
    with memory_errors(batch_size), _one_behind() as write:
        prepared = one_ahead(partial(inputs.take, batch) for batch in positions)
        for chosen, items in zip(positions, prepared, strict=True):
            context.check_cancelled()
            batch = classifier.preprocessing.to_batch(items, device)
            features, logits, seconds = _timed(partial(forward, classifier, batch), device)
            forward_seconds += seconds
            write(
                partial(
                    sink.append,
                    features=features,
                    y=labels.y[chosen],
                    a=a[chosen],
                    row_id=labels.row_id[chosen],
                    logits=logits if classes is None else classes.columns(logits),
                    attributes=labels.a[chosen],
                    masks=labels.masks[chosen] if dataset.info.masks else None,
                )
            )
            n_done = int(chosen[-1]) + 1 - rows.start
            context.progress(split, done + n_done, total or len(rows), "examples")
    seconds = time.perf_counter() - started
    return ExtractionRates(
        rate=len(rows) / seconds if positions else float("nan"),
        bare_rate=len(rows) / forward_seconds if positions else float("nan"),
    )


def _timed(
    forward: Callable[[], tuple[Tensor, Tensor]], device: torch.device
) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Features and logits on the host, and the seconds of the forward pass alone."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    features, logits = forward()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - started
    return features.cpu().numpy(), logits.cpu().numpy(), seconds


class Write(Protocol):
    """Hands over one piece of work."""

    def __call__(self, work: partial[None], /) -> None: ...


@contextmanager
def _one_behind() -> Generator[Write]:
    """Work handed over runs in another thread, in order, at most one piece waiting; errors come out at the next.

    Leaving the block waits for the last piece.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="sink") as pool:
        pending: list[Future[None]] = []

        def write(work: partial[None]) -> None:
            if pending:
                pending.pop().result()
            pending.append(pool.submit(work))

        yield write
        if pending:
            pending.pop().result()


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, f"batch_size must be at least 1; got {batch_size}", got=batch_size
        )
