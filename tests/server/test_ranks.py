"""The processes of one run: a job fails with the error of whichever failed. How they meet and die: `test_fleets.py`."""

import subprocess
import sys
import textwrap

import pytest

FIRST = textwrap.dedent("""
    import faulthandler, sys
    faulthandler.dump_traceback_later(100, exit=True)  # says where it hangs
    import torch
    from penult_proto.v1.pipes_pb2 import JobOrder
    from penult_server.jobs import ranks

    ranks.COMMAND = (sys.executable, "-c", sys.argv[1])
    with ranks.shared_by(JobOrder(device="cpu"), 2, lambda error: print(error.kind, error.message)):
        torch.distributed.barrier()
        print("went on")
""")
OTHER = textwrap.dedent("""
    import faulthandler, os, torch
    faulthandler.dump_traceback_later(90)
    from penult_proto.errors import ErrorKind
    from penult_server.errors import ServiceError
    from penult_server.jobs import rank

    def take_part(order, reports, together):
        with together:
            {}

    rank.find = lambda table, name: take_part
    rank.main("")
""")


@pytest.mark.parametrize(
    ("what", "reported", "printed", "status"),
    [
        ("raise MemoryError('of rank 1')", "out_of_memory not enough memory (of rank 1)", "another process", 1),
        ("raise ServiceError(ErrorKind.STORE_CORRUPT, 'rank 1 alone')", "store_corrupt rank 1 alone", "failed", 1),
        ("raise KeyError('a bug')", "internal the server made a mistake (KeyError", "KeyError: 'a bug'", 1),
    ],
)
def test_an_error_of_another_process_is_reported_as_the_job_s(what, reported, printed, status):
    first = subprocess.run(
        [sys.executable, "-u", "-c", FIRST, OTHER.format(what)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert first.returncode == status, first.stderr
    assert first.stdout.startswith(reported)
    assert printed in first.stderr
