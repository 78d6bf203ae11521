"""Requests off the wire: bytes that are no message, numbers of choices that nobody knows, arrays of no shape."""

import numpy as np
import pytest

from penult_proto.errors import ErrorKind
from penult_proto.v1 import arrays_pb2, jobs_pb2, refits_pb2
from penult_server.errors import ServiceError
from penult_server.front.requests import checked, decoder
from penult_server.messages import array_from_proto, array_to_proto


def refused(kind: ErrorKind):
    return pytest.raises(ServiceError, check=lambda error: error.kind is kind)


def test_bytes_that_are_no_message_are_refused():
    decode = decoder(jobs_pb2.GetJobRequest.FromString)
    assert checked(decode(jobs_pb2.GetJobRequest(id="one").SerializeToString())).id == "one"
    for content in (b"\xff\xff", b"\x0a\x02\xff\xfe"):  # the second is a string that is not UTF-8
        with refused(ErrorKind.INVALID_ARGUMENT):
            checked(decode(content))


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (jobs_pb2.ListJobsRequest(states=[jobs_pb2.JOB_STATE_QUEUED, 77]), "states"),
        (refits_pb2.ComputeRefitsRequest(requests=[{}, {"path": {"schedule": -1}}]), "schedule"),
    ],
)
def test_unknown_numbers_of_choices_are_refused_wherever_they_stand(request_, field):
    with refused(ErrorKind.INVALID_ARGUMENT) as raised:
        checked(request_)
    assert raised.value.metadata["field"] == field
    assert "_QUEUED" in str(raised.value) or "_COSINE" in str(raised.value)


def test_an_array_comes_back_as_it_was():
    for array in (np.arange(6.0).reshape(2, 3), np.array([True, False]), np.zeros((0, 4), np.int64), np.array(2.5)):
        np.testing.assert_array_equal(array_from_proto(array_to_proto(array), "it"), array)


@pytest.mark.parametrize(
    "shape", [[-1], [2**32, 2**32], [2**62, 4], [0, 2**62], [-2, -3], [1] * 70, [3], [2**63 - 1], []]
)
def test_shapes_that_do_not_fit_are_refused(shape):
    for content in (b"", b"\0" * 16):
        array = arrays_pb2.Array(dtype=arrays_pb2.DTYPE_FLOAT64, shape=shape, data=content)
        with refused(ErrorKind.WRONG_SHAPE):
            array_from_proto(array, "it")


def test_types_that_do_not_fit_are_refused():
    for array in (
        arrays_pb2.Array(shape=[0]),
        arrays_pb2.Array(dtype=arrays_pb2.DTYPE_BOOL, shape=[2], data=b"\1\2"),
    ):
        with refused(ErrorKind.WRONG_DTYPE):
            array_from_proto(array, "it")
