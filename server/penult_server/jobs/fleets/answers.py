"""How a task ended, as JSON: what crosses from the process that did it."""

from collections.abc import Callable
from typing import Any

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.jobs.fleets.fleet import Json, Outcome
from penult_server.machine.gpus import leave_if_lost
from penult_server.status import translate

MOST_BYTES = 2**20
"""Bytes of one answer, at most; what a task makes lies in the store."""


def answer_of(work: Callable[[], Json]) -> dict[str, Any]:
    """Do it, and say how it ended. An error that takes the GPU away ends this process, as a death."""
    try:
        return {"result": work()}
    except Exception as error:  # the seam: a refusal, memory, disk, or a bug
        leave_if_lost(error)
        return error_answer(translate(error))


def error_answer(error: ServiceError) -> dict[str, Any]:
    """An error with its kind, message and values."""
    return {"error": {"kind": str(error.kind), "message": error.message, "metadata": error.metadata}}


def outcome_of(answer: dict[str, Any]) -> Outcome:
    """What an answer says."""
    if "error" in answer:
        said = answer["error"]
        return Outcome(error=ServiceError(ErrorKind(said["kind"]), said["message"], **said["metadata"]))
    return Outcome(result=answer["result"])
