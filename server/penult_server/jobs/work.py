"""What each kind of job does."""

from penult_proto.errors import ErrorKind
from penult_proto.v1 import jobs_pb2 as pb
from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.errors import ServiceError
from penult_server.jobs.channel import WorkerChannel
from penult_server.jobs.fleets.fleet import Fleet
from penult_server.jobs.reading import allowed
from penult_server.named.roots import reading
from penult_server.named.specs import check_named
from penult_server.stores.places.fence import fenced


def work(order: JobOrder, channel: WorkerChannel, fleet: Fleet) -> pb.JobResult:
    """Do a job. Raises ServiceError, WorkerDiedError; anything else is a bug or a limit of the machine."""
    with reading(allowed(order), channel.check_cancelled), fenced(channel.check_held):
        check_named(order.spec)
        return _work(order, channel, fleet)


def _work(order: JobOrder, channel: WorkerChannel, fleet: Fleet) -> pb.JobResult:
    match order.spec.WhichOneof("kind"):
        case "finetune":
            return fleet.gang(order, max(1, order.spec.finetune.processes), channel)
        case "extract":
            # Imported here: registering a dataset needs no Zarr.
            from penult_server.jobs.extracting.job import extract_job

            return pb.JobResult(extract=extract_job(order, channel, fleet))
        case "import_checkpoint":
            from penult_server.jobs.imports.import_work import import_job

            return pb.JobResult(checkpoint=import_job(order, order.spec.import_checkpoint, channel))
        case "merge":
            from penult_server.jobs.merge_work import merge_job

            return merge_job(order, order.spec.merge, channel)
        case "merge_curve":
            from penult_server.jobs.curve_work import curve_job

            return pb.JobResult(merge_curve=curve_job(order, order.spec.merge_curve, channel))
        case "merge_report":
            from penult_server.jobs.report_work import report_job

            return pb.JobResult(merge_report=report_job(order, order.spec.merge_report, channel))
        case "register_dataset":
            # Imported here: the other jobs read no tables.
            from penult_server.jobs.imports.dataset_work import register_job

            return pb.JobResult(dataset=register_job(order, order.spec.register_dataset, channel))
        case None:
            raise ServiceError(ErrorKind.INVALID_ARGUMENT, "the job has no spec")
