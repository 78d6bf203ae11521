"""Registering a dataset: the request decoded, the room's function called, its record encoded."""

from pathlib import Path

from penult_proto.v1 import datasets_pb2
from penult_proto.v1 import jobs_pb2 as pb
from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.datasets.layouts.columns import Columns
from penult_server.datasets.layouts.reading import Layout
from penult_server.datasets.registration import Request, register
from penult_server.jobs.channel import WorkerChannel
from penult_server.messages import dataset_to_proto

LAYOUTS: "dict[datasets_pb2.DatasetLayout.ValueType, Layout]" = {
    datasets_pb2.DATASET_LAYOUT_UNSPECIFIED: Layout.TABLE,
    datasets_pb2.DATASET_LAYOUT_TABLE: Layout.TABLE,
    datasets_pb2.DATASET_LAYOUT_WATERBIRDS: Layout.WATERBIRDS,
    datasets_pb2.DATASET_LAYOUT_CELEBA: Layout.CELEBA,
    datasets_pb2.DATASET_LAYOUT_CIVILCOMMENTS: Layout.CIVILCOMMENTS,
    datasets_pb2.DATASET_LAYOUT_MULTINLI: Layout.MULTINLI,
}


def register_job(order: JobOrder, spec: pb.RegisterDatasetSpec, channel: WorkerChannel) -> datasets_pb2.Dataset:
    request = Request(
        name=spec.name,
        source=Path(spec.table),
        layout=LAYOUTS[spec.layout],
        columns=_columns(spec.columns),
        description=spec.description,
    )
    return dataset_to_proto(register(request, Path(order.root) / "datasets", channel.progress, channel.check_cancelled))


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
