"""A list of entries in the place of the real one, and what they do: each order says it in the field `do`."""

import contextlib
import os
import signal
import time
from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_proto.v1 import jobs_pb2 as pb
from penult_server.errors import ServiceError

ENTRIES = {
    "rank": "fleet_entries:rank",
    "extract_range": "fleet_entries:task",
    "other": "fleet_entries:other",
}


def task(order, context):
    """What the order says; `deaf` hears no cancellation, `alive` tells by a file who it is."""
    if "alive" in order:
        Path(order["alive"], f"{os.getpid()}").write_text(str(os.getppid()), encoding="utf-8")
    match order["do"]:
        case "echo":
            return {"said": order["what"], "pid": os.getpid(), "threads": context.threads}
        case "length":
            return {"length": len(order["what"])}
        case "environment":
            _wait_for(order["alive"], order["n"])
            return {name: os.environ.get(name) for name in order["names"]} | {"pid": os.getpid()}
        case "die":
            with open(order["deaths"], "a", encoding="utf-8") as deaths:
                deaths.write(".")
            if Path(order["deaths"]).stat().st_size <= order["times"]:
                os.kill(os.getpid(), signal.SIGKILL)
            return {"lives": True}
        case "refuse":
            with open(order["attempts"], "a", encoding="utf-8") as attempts:
                attempts.write(".")
            raise ServiceError(ErrorKind.FILES_MISSING, "no file of that name", node="seven", n=3)
        case "bug":
            raise KeyError("a bug")
        case "until":
            _wait_for(order["signal"], 1)
            return {"lives": True}
        case "last":
            began = time.perf_counter()
            time.sleep(order["seconds"])
            return {"seconds": time.perf_counter() - began}
        case "wait":
            for _ in range(3000):
                context.check_cancelled()
                time.sleep(0.01)
        case "deaf":
            while True:
                with contextlib.suppress(KeyboardInterrupt):
                    time.sleep(30)
    raise AssertionError(order)


def other(order, context):
    return {"other": order["do"]}


def rank(order, reports, together):
    """As the order's `dataset_digest` says; the first one's result is told by the run's id."""
    match order.dataset_digest:
        case "refuse":
            raise ServiceError(ErrorKind.DIVERGED, "the loss is not finite", step=7)
        case "last":
            began = time.perf_counter()
            time.sleep(order["seconds"])
            return {"seconds": time.perf_counter() - began}
        case "wait":
            _wait_for_cancellation(order, reports)
    with together as place:
        if order.dataset_digest == "die" and place.world.rank < place.world.size - 1:
            _wait_for_cancellation(order, reports)
        if order.dataset_digest == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if order.dataset_digest == "store" and place.world.is_first:
            for _ in range(3):
                reports.check_held()
        # Each adds its number; the sum is known only to who has met the others.
        import torch

        number = torch.tensor([place.world.rank + 1.0])
        if place.world.size > 1:
            torch.distributed.all_reduce(number)
        reports.progress("training", int(number), 10, "steps")
        reports.saved(3.5)
    result = pb.JobResult()
    result.run.id = f"{int(number)} of {place.world.size}"
    return result if place.world.is_first else None


def _wait_for_cancellation(order, reports):
    Path(order.log).mkdir(exist_ok=True)
    Path(order.log, str(os.getpid())).touch()
    for _ in range(3000):
        reports.check_cancelled()
        time.sleep(0.01)
    raise TimeoutError("a cancellation")


def _wait_for(folder, n):
    """Until there are so many files."""
    for _ in range(3000):
        if len(os.listdir(folder)) >= n:
            return
        time.sleep(0.01)
    raise TimeoutError(folder)
