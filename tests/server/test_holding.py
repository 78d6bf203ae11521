"""Who is about to store something asks the front first, and goes on only when that answers."""

import threading

import pytest

from penult_proto.errors import ErrorKind
from penult_proto.v1.pipes_pb2 import FromWorker
from penult_server.errors import ServiceError
from penult_server.jobs.channel import Reports
from penult_server.stores.places.fence import check_fence, fenced


def test_each_question_waits_for_its_own_answer():
    asked: list[int] = []
    was_asked = threading.Event()

    def hear(message: FromWorker) -> None:
        asked.append(message.holds)
        was_asked.set()

    reports = Reports(hear)
    passed_on: list[int] = []
    reports.when_held(passed_on.append)
    for number in (1, 2):
        was_asked.clear()
        waiting = threading.Thread(target=reports.check_held)
        waiting.start()
        assert was_asked.wait(10)
        if number == 2:
            reports.held(1)  # an answer to the first question is none to the second
            assert waiting.is_alive()
        reports.held(number)
        waiting.join(timeout=10)
        assert not waiting.is_alive()
    assert asked == [1, 2]
    assert passed_on == [1, 1, 2], "an answer reaches processes that ask through this one"


def test_a_job_that_is_cancelled_waits_no_more():
    reports = Reports(lambda message: reports.cancel())
    with pytest.raises(ServiceError) as raised, fenced(reports.check_held):
        check_fence()
    assert raised.value.kind is ErrorKind.CANCELLED
    check_fence()  # nobody is asked outside of the block
