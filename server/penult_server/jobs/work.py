"""What each kind of job does."""

from penult_proto.errors import ErrorKind
from penult_proto.v1 import jobs_pb2 as pb
from penult_server.errors import ServiceError
from penult_server.jobs.channel import WorkerChannel
from penult_server.jobs.order import Order


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
            # Imported here: the other jobs read no tables.
            from penult_server.jobs.dataset_work import register_job

            return pb.JobResult(dataset=register_job(order, spec.register_dataset, channel))
        case None:
            raise ServiceError(ErrorKind.INVALID_ARGUMENT, "the job has no spec")
