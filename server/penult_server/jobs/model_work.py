"""Jobs that run a model: names looked up, the package's function called, its records made messages."""

import time
from pathlib import Path

import numpy as np

from penult_proto.v1 import jobs_pb2 as pb
from penult_proto.v1 import runs_pb2
from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.backbones.starting import StartHead
from penult_server.class_names import Classes
from penult_server.clock import timestamp
from penult_server.datasets.catalog import open_dataset
from penult_server.datasets.stored import check_files
from penult_server.finetuning.request import config_from_proto
from penult_server.finetuning.train import finetune
from penult_server.jobs.channel import Reports
from penult_server.jobs.ranks import Together
from penult_server.jobs.reading import allowed
from penult_server.machine.allocator import keep_freed_memory
from penult_server.messages import (
    array_from_proto,
    checkpoint_to_proto,
    dataset_labels,
    record_to_proto,
)
from penult_server.named.roots import reading
from penult_server.notes import notes_to_proto
from penult_server.stores.places.fence import fenced


def rank(order: JobOrder, reports: Reports, together: Together) -> pb.JobResult | None:
    """Take part in a finetuning: the first of its processes reports and stores, and has the result."""
    keep_freed_memory()
    with reading(allowed(order), reports.check_cancelled), fenced(reports.check_held):
        root, spec = Path(order.root), order.spec.finetune
        config = config_from_proto(spec)
        dataset = open_dataset(spec.dataset, order.dataset_digest, root)
        check_files(dataset, ["train", *(config.evaluate or dataset.info.splits)])
        labels = dataset_labels(dataset.info, config.attribute)
        reports.labels = labels
        started = time.time()
        with together as place:
            outcome = finetune(
                config,
                dataset,
                root=root,
                device=place.device,
                context=reports,
                run_id=order.job_id,
                attempt=order.attempt,
                world=place.world,
                start_head=_start_head(order),
            )
    if not place.world.is_first:
        return None
    run = runs_pb2.Run(
        id=order.job_id,
        spec=spec,
        dataset_digest=order.dataset_digest,
        n_train_examples=len(outcome.kept_row_ids),
        checkpoints=[checkpoint_to_proto(one) for one in outcome.checkpoints],
        history=[record_to_proto(one, labels) for one in outcome.history],
        created=timestamp(started),
        train_seconds=outcome.train_seconds,
        steps_per_epoch=outcome.steps_per_epoch,
        notes=notes_to_proto(outcome.notes),
    )
    return pb.JobResult(run=run)


def _start_head(order: JobOrder) -> StartHead | None:
    """The head of the refit that a run starts from."""
    if not order.HasField("start_head"):
        return None
    head, refit = order.start_head, order.spec.finetune.start.refit
    return StartHead(
        weight=array_from_proto(head.weight, "start_head.weight").astype(np.float64),
        bias=array_from_proto(head.bias, "start_head.bias").astype(np.float64),
        classes=Classes(names=tuple(head.classes), whose=f"refit {refit[:12]}"),
    )
