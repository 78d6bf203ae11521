"""What the work of a job may read: the front says it, and the worker looks again."""

from pathlib import Path

from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.named.roots import DataRoots
from penult_server.stores.uploads import upload_directory


def allowed(order: JobOrder) -> DataRoots:
    """The files that a job may read where its request names them, and those that were sent for it."""
    root = Path(order.root)
    sent = order.spec.import_checkpoint.content if order.spec.HasField("import_checkpoint") else ""
    return DataRoots(
        roots=tuple(Path(one) for one in order.data_roots),
        is_everywhere=order.reads_everywhere,
        store=root,
        uploads=upload_directory(root, sent) if sent and not order.spec.import_checkpoint.path else None,
    )
