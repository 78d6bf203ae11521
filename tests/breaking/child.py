"""One trial after the other, each in a forked process of its own: importing torch takes longer than most of them.

Reads lines of JSON: {"root", "operation", "how", "at", "lasts", "keep"} does an operation on a store whose disk goes
wrong; {"root", "reopen", "told"} opens the store as a server does, lets it end its jobs, checks it, and does the
operation again. Answers each with a line of JSON.
"""

import asyncio
import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import pandas  # noqa: F401
import torch
from disk import Disk, Fault
from invariants import problems
from operations import OPERATIONS, RefusedError
from PIL import Image
from tiny_server import tiny_server

from penult_server.jobs import model_work  # noqa: F401  (loaded once, for all trials)
from penult_server.jobs.extracting import job, task  # noqa: F401
from penult_server.jobs.imports import dataset_work, import_work  # noqa: F401
from penult_server.status import translate

Answer = dict[str, Any]


def do(order: Answer, say: Any) -> Answer:
    """An operation on a disk that goes wrong; then, where the process lives on and it was an error, again."""
    root = Path(order["root"])
    disk = Disk(root, Fault(), keep=bool(order.get("keep")))
    disk.watch()

    def tell(what: str) -> None:
        disk.acknowledge(what)
        say({"told": what})

    return asyncio.run(_do(order, root, disk, tell))


async def _do(order: Answer, root: Path, disk: Disk, tell: Any) -> Answer:
    operation = OPERATIONS[order["operation"]]
    answer: Answer = {}
    async with tiny_server(root) as server:
        disk.steps.clear()
        disk.recorded.clear()
        disk.fault = Fault(order.get("how", ""), order.get("at", -1), order.get("lasts", False))
        answer["refusal"], answer["result"] = await _attempt(operation, server, tell)
        answer["steps"] = list(disk.steps)
        if order.get("keep"):
            Path(order["keep"]).write_bytes(pickle.dumps(disk.recorded))
        disk.mend()
        if order.get("how"):
            # Those that were stopped by the same fault, such as a job that cannot write down how it ended.
            await server.until_idle()
            answer["again"] = await _attempt(operation, server, tell)
    return answer


async def _attempt(operation: Any, server: Any, tell: Any) -> tuple[str, list[str]]:
    """The kind of the refusal, or "", and what came of it."""
    try:
        return "", await operation(server, tell)
    except RefusedError as error:
        return error.kind, [str(error)]
    except Exception as error:  # as the guard of every call does
        said = translate(error)
        return said.kind, [said.message]


def reopen(order: Answer, say: Any) -> Answer:
    """Start a server on what there is, and look."""
    return asyncio.run(_reopen(order, Path(order["root"])))


async def _reopen(order: Answer, root: Path) -> Answer:
    told, may_fail = list(order["told"]), bool(order.get("may_fail"))
    async with tiny_server(root) as server:
        await server.until_idle()
        found = problems(root, told, may_fail=may_fail)
        answer: Answer = {}
        if order.get("operation"):
            answer["refusal"], answer["result"] = await _attempt(OPERATIONS[order["operation"]], server, told.append)
            found += [f"after the second try: {one}" for one in problems(root, told, may_fail=may_fail)]
    return answer | {"problems": found}


def main() -> None:
    torch.set_num_threads(1)
    Image.init()
    for line in sys.stdin:
        order = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            with os.fdopen(writer, "w", buffering=1, closefd=False) as pipe:
                act = reopen if "told" in order else do
                answer = act(order, lambda message: pipe.write(json.dumps(message) + "\n"))
                pipe.write(json.dumps({"answer": answer}) + "\n")
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            messages = [json.loads(one) for one in pipe]
        _, status = os.waitpid(child, 0)
        told = [one["told"] for one in messages if "told" in one]
        answers = [one["answer"] for one in messages if "answer" in one]
        ended = {"status": os.waitstatus_to_exitcode(status), "told": told, **(answers[0] if answers else {})}
        sys.stdout.write(json.dumps(ended) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
