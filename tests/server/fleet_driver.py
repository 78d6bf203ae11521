"""The worker of a job, as far as fleets are concerned: `python fleet_driver.py FLEET WHAT FOLDER`."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.jobs.channel import Reports
from penult_server.jobs.fleets.fleet import WorkerDiedError
from penult_server.jobs.fleets.local import LocalFleet

PYTHON_PATH = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
"""By which the processes of a fleet find the entries of the tests."""


def fleet_of(kind):
    if kind == "local":
        return LocalFleet("cpu", table="fleet_entries", grace=1.0)
    from penult_server.jobs.fleets.ray_fleet.fleet import RayFleet

    root = Path(tempfile.mkdtemp(prefix="penult-root-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return RayFleet(root, "cpu", table="fleet_entries", grace=1.0)


def tell(what):
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def main(kind, what, folder):
    fleet = fleet_of(kind)
    try:
        if what == "tasks":
            orders = [{"do": "deaf", "alive": folder}] * 2
            for _ in fleet.tasks("extract_range", orders, at_once=2):
                pass
        else:
            reports = Reports(lambda message: tell(message.WhichOneof("kind")))
            order = JobOrder(device="cpu", dataset_digest=what, log=folder)
            tell(fleet.gang(order, 2, reports).run.id)
    except WorkerDiedError as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(71)
    fleet.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
