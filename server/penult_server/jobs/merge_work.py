"""A merge: the request decoded, the function of `merging` called, its record encoded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from google.protobuf.json_format import MessageToDict
from numpy.typing import NDArray

from penult_proto.enums import name_or
from penult_proto.merge_methods import METHODS
from penult_proto.notes import NoteId
from penult_proto.safetensors import WEIGHTS_FILE
from penult_proto.v1 import jobs_pb2, merges_pb2
from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.class_names import Classes, match_classes
from penult_server.datasets.catalog import open_dataset
from penult_server.datasets.stored import check_files
from penult_server.jobs.channel import Reports
from penult_server.jobs.greedy_work import chosen
from penult_server.jobs.measured_work import parents_measured
from penult_server.jobs.ranks import choose_device
from penult_server.machine.allocator import keep_freed_memory
from penult_server.merging.batchnorm import Stream
from penult_server.merging.storing import Reestimation, Told, store_merge
from penult_server.merging.streamed import MergePlan, Streamed
from penult_server.merging.tensors import VERSION, Scope, head_of, is_statistic, merged_tensors, other_names
from penult_server.messages import checkpoint_to_proto
from penult_server.notes import Note, notes_from_proto
from penult_server.stores.checkpoints import CheckpointManifest, checkpoint_files, read_manifest
from penult_server.stores.writing.weights import header_of


def merge_job(order: JobOrder, spec: merges_pb2.MergeSpec, channel: Reports) -> jobs_pb2.JobResult:
    """The merged checkpoint, stored, and how it was made."""
    keep_freed_memory()
    root = Path(order.root)
    measured = reestimation(spec, order.dataset_digest, root)

    def merging(done: float) -> None:
        channel.check_cancelled()
        channel.progress("merging", 100 * done, 100 if measured is None else 200, "percent")

    def measuring(done: int, total: int) -> None:
        channel.check_cancelled()
        channel.progress("running statistics", 100 + 100 * done / total, 200, "percent")

    plan, steps = plan_of(root, spec), list[merges_pb2.MergeStep]()
    if METHODS[spec.method].selects:
        plan, steps = chosen(order, spec, plan, measured, channel)
    made: list[merges_pb2.MergeOrigin] = []

    def described(streamed: Streamed, n_examples: int) -> tuple[dict[str, Any], tuple[Note, ...]]:
        made.append(_origin(spec, plan, steps, streamed, n_examples))
        notes = (*notes_from_proto(spec.notes), *_statistics_notes(spec, streamed, n_examples))
        return MessageToDict(made[-1]), notes

    with parents_measured(order, spec, plan, channel) as complete:
        manifest = store_merge(
            root,
            complete,
            measured,
            described,
            device=choose_device(order.device),
            told=Told(merging=merging, measuring=measuring),
        )
    return jobs_pb2.JobResult(checkpoint=checkpoint_to_proto(manifest), merge=made[-1])


def plan_of(root: Path, spec: merges_pb2.MergeSpec) -> MergePlan:
    """What a complete request merges, tensor by tensor."""
    rest = read_manifest(root, spec.rest)
    header = header_of(checkpoint_files(root, spec.rest) / WEIGHTS_FILE)
    scope = cast(Scope, name_or(merges_pb2.MergeScope, spec.scope, "body"))
    merged = merged_tensors(header, rest, scope, spec.blocks)
    averaged: list[str] = []
    if spec.batch_norm.rule == merges_pb2.BATCH_NORM_RULE_AVERAGE:
        averaged = sorted(name for name in header.tensors if is_statistic(name))
    if spec.method == "wise":  # its mean is the point on the line
        merged, averaged = sorted([*merged, *averaged]), []
    has_shares = METHODS[spec.method].takes_shares and any(one.HasField("share") for one in spec.parents)
    return MergePlan(
        method=spec.method,
        parents=tuple(one.checkpoint for one in spec.parents),
        shares=tuple(one.share for one in spec.parents) if has_shares else (),
        numbers=dict(spec.numbers),
        seed=spec.seed,
        base=spec.base,
        rest=spec.rest,
        merged=tuple(merged),
        averaged=tuple(averaged),
        tied=other_names(rest),
        rows=_rows(root, spec, rest) if head_of(rest) & set(merged) else {},
    )


def _rows(root: Path, spec: merges_pb2.MergeSpec, rest: CheckpointManifest) -> dict[str, dict[str, NDArray[np.int64]]]:
    """The order of rows, for parents whose head has its classes in another order than that of the rest."""
    found: dict[str, dict[str, NDArray[np.int64]]] = {}
    labels = Classes(names=rest.classes, whose=f"checkpoint {rest.digest[:12]}")
    for digest in {*(one.checkpoint for one in spec.parents), *([spec.base] if spec.base else [])}:
        manifest = read_manifest(root, digest)
        match = match_classes(Classes(names=manifest.classes, whose=f"checkpoint {digest[:12]}"), labels)
        if not match.is_same:
            found[digest] = dict.fromkeys(head_of(manifest), match.order)
    return found


def reestimation(spec: merges_pb2.MergeSpec, dataset_digest: str, root: Path) -> Reestimation | None:
    """What a complete request measures running statistics on; None where it does not."""
    how = spec.batch_norm
    if how.rule != merges_pb2.BATCH_NORM_RULE_REESTIMATE:
        return None
    dataset = open_dataset(spec.dataset, dataset_digest, root)
    check_files(dataset, ["train"])
    return Reestimation(
        dataset=dataset,
        attribute=spec.attribute,
        stream=cast(Stream, name_or(merges_pb2.BatchNormStream, how.stream, "natural")),
        batch_size=how.batch_size,
        count=how.count,
        seed=how.seed,
    )


def _origin(
    spec: merges_pb2.MergeSpec,
    plan: MergePlan,
    steps: Sequence[merges_pb2.MergeStep],
    streamed: Streamed,
    n_examples: int,
) -> merges_pb2.MergeOrigin:
    said = merges_pb2.MergeSpec()
    said.CopyFrom(spec)
    said.ClearField("notes")
    said.rest = plan.rest
    return merges_pb2.MergeOrigin(
        spec=said, version=VERSION, factors=streamed.factors, batch_norm_examples=n_examples, steps=steps
    )


def _statistics_notes(spec: merges_pb2.MergeSpec, streamed: Streamed, n_examples: int) -> list[Note]:
    if n_examples:
        text = f"running statistics were measured on {n_examples} training examples under the merged weights"
        return [Note(NoteId.RUNNING_STATISTICS, text)]
    if spec.batch_norm.rule == merges_pb2.BATCH_NORM_RULE_AVERAGE:
        counts = sorted(set(streamed.batch_counts))
        text = "running statistics are the mean of the parents', and not those of the merged weights"
        if len(counts) > 1:
            text += f"; the parents have counted {', '.join(map(str, counts[:5]))} batches"
        return [Note(NoteId.RUNNING_STATISTICS, text)]
    return []
