"""Registering a dataset: the request decoded, the function of `datasets` called, its record encoded."""

from pathlib import Path

from penult_proto.enums import name_or
from penult_proto.v1 import datasets_pb2
from penult_proto.v1 import jobs_pb2 as pb
from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.datasets.catalog import DATASETS_DIRECTORY
from penult_server.datasets.layouts.columns import Columns
from penult_server.datasets.layouts.reading import TABLE
from penult_server.datasets.registration import Request, register
from penult_server.jobs.channel import WorkerChannel
from penult_server.messages import dataset_to_proto
from penult_server.stores.places.opening import store_of


def register_job(order: JobOrder, spec: pb.RegisterDatasetSpec, channel: WorkerChannel) -> datasets_pb2.Dataset:
    request = Request(
        name=spec.name,
        source=Path(spec.table),
        layout=name_or(datasets_pb2.DatasetLayout, spec.layout, TABLE),
        columns=_columns(spec.columns),
        description=spec.description,
    )
    root = Path(order.root)
    info = register(request, root / DATASETS_DIRECTORY, channel.progress, channel.check_cancelled)
    store_of(root).keep(DATASETS_DIRECTORY, info.digest)
    return dataset_to_proto(info)


def _columns(columns: datasets_pb2.TableColumns) -> Columns:
    return Columns(
        split=columns.split,
        y=columns.y,
        path=columns.path,
        texts=tuple(columns.texts),
        id=columns.id,
        attributes=tuple(columns.attributes),
        masks=tuple(columns.masks),
        splits=dict(columns.splits),
    )
