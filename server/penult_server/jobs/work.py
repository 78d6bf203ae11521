"""What each kind of job does."""

from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_proto.v1 import datasets_pb2
from penult_proto.v1 import jobs_pb2 as pb
from penult_server.datasets.table import register
from penult_server.errors import ServiceError
from penult_server.jobs.channel import WorkerChannel
from penult_server.jobs.order import Order
from penult_server.messages import dataset_to_proto


def work(order: Order, channel: WorkerChannel) -> pb.JobResult:
    """Do a job. Raises ServiceError; anything else is a bug or a limit of the machine."""
    spec = order.job_spec()
    match spec.WhichOneof("kind"):
        case "finetune" | "extract":
            # Imported here: registering a dataset needs no framework.
            from penult_server.jobs.model_work import extract_job, finetune_job

            if spec.HasField("finetune"):
                return pb.JobResult(run=finetune_job(order, spec.finetune, channel))
            return pb.JobResult(extract=extract_job(order, spec.extract, channel))
        case "register_dataset":
            return pb.JobResult(dataset=_register(order, spec.register_dataset, channel))
        case None:
            raise ServiceError(ErrorKind.INVALID_ARGUMENT, "the job has no spec")


def _register(order: Order, spec: pb.RegisterDatasetSpec, channel: WorkerChannel) -> datasets_pb2.Dataset:
    out = Path(order.root) / "datasets"
    info = register(Path(spec.table), spec.name, spec.description, out, channel.progress, channel.check_cancelled)
    return dataset_to_proto(info)
