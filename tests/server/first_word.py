"""Stands in the place of a compute worker that only starts: says that it is ready, and ends when its input does."""

import sys

from penult_proto.v1.pipes_pb2 import ComputeReady, FromWorker, ToWorker
from penult_server import pipes

if __name__ == "__main__":
    messages = pipes.own_stdout()
    pipes.receive(sys.stdin.buffer, ToWorker)
    pipes.send(messages, FromWorker(ready=ComputeReady(device="cpu")))
    while pipes.receive(sys.stdin.buffer, ToWorker):
        pass
