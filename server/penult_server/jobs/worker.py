"""A job worker's process: `python -m penult_server.jobs.worker`, started by the front for one job."""

import json
import sys

from penult_server.errors import ServiceError
from penult_server.failures import translate
from penult_server.jobs.channel import WorkerChannel
from penult_server.jobs.order import Order
from penult_server.pipes import own_stdout


def main() -> None:
    """Read the order, do the work, say how it ended."""
    messages = own_stdout()
    order = Order(**json.loads(sys.stdin.readline()))
    channel = WorkerChannel(messages)
    channel.watch(sys.stdin)
    try:
        # Imported here: frameworks take seconds to load, and a failure to load them is a failure of the job.
        from penult_server.jobs.work import work

        channel.result(work(order, channel))
    except ServiceError as error:
        channel.error(error)
    except Exception as error:  # the seam: memory, disk, or a bug that the log keeps and the job reports
        channel.error(translate(error))


if __name__ == "__main__":
    main()
