"""What a method measures of every parent before it merges: on the rows of the request, kept as long as it is needed."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from penult_proto.enums import name_or
from penult_proto.merge_methods import METHODS
from penult_proto.v1 import merges_pb2
from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.datasets.catalog import open_dataset
from penult_server.datasets.stored import check_files
from penult_server.jobs.channel import Reports
from penult_server.jobs.ranks import choose_device
from penult_server.merging.batchnorm import Stream
from penult_server.merging.measured import MeasuredOn, with_measured
from penult_server.merging.streamed import MergePlan
from penult_server.stores.checkpoints import FOLDER
from penult_server.stores.places.opening import store_of


@contextmanager
def parents_measured(
    order: JobOrder, spec: merges_pb2.MergeSpec, plan: MergePlan, channel: Reports
) -> Generator[MergePlan]:
    """The plan with what its method measures, where it does; the files lie in a staged folder and go at the end."""
    if not METHODS[spec.method].reads_rows:
        yield plan
        return
    root = Path(order.root)
    dataset = open_dataset(spec.dataset, order.dataset_digest, root)
    check_files(dataset, ["train"])
    on = MeasuredOn(
        dataset=dataset,
        attribute=spec.attribute,
        stream=cast(Stream, name_or(merges_pb2.BatchNormStream, spec.row_stream, "natural")),
        count=int(spec.numbers["rows"]),
        seed=spec.seed,
    )

    def beat(done: float) -> None:
        channel.check_cancelled()
        channel.progress("measuring the parents", 100 * done, 100, "percent")

    staged = store_of(root).attempt(FOLDER)
    try:
        yield with_measured(root, plan, on, staged.directory, device=choose_device(order.device), beat=beat)
    finally:
        staged.discard()
