"""What one request may list: each repeated field has a bound, held against the bytes before they are decoded."""

import struct
import time

import pytest
from google.protobuf.descriptor import Descriptor

from penult_proto.errors import ErrorKind
from penult_proto.services import SERVICES
from penult_proto.v1 import arrays_pb2, features_pb2, info_pb2, refits_pb2, spectra_pb2
from penult_server.errors import ServiceError
from penult_server.front.admission.bounds import check_bounds
from penult_server.front.admission.table import BOUNDS
from penult_server.front.requests import checked, decoder


def lists_of(message: Descriptor, path: tuple[str, ...] = ()) -> set[str]:
    """Repeated fields that a message can hold."""
    assert message.full_name not in path, "the walk over bytes goes through the parts of a message and would not end"
    found = {f"{message.name}.{field.name}" for field in message.fields if field.is_repeated}
    for field in message.fields:
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            found |= lists_of(field.message_type, (*path, message.full_name))
    return found


def test_every_list_of_every_request_has_a_bound():
    methods = [method for service in SERVICES.values() for method in service.methods]
    found = set().union(*(lists_of(method.input_type) for method in methods))
    assert found - set(BOUNDS) == set(), "give each a bound in front/admission/table.py"
    assert set(BOUNDS) - found == set(), "no request has these any more"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (refits_pb2.ComputeRefitsRequest(requests=[{}] * 1001), "ComputeRefitsRequest.requests"),
        (refits_pb2.ComputeRefitsRequest(requests=[{"grid": [{"name": "l2"}] * 65}]), "RefitRequest.grid"),
        (refits_pb2.ComputeRefitsRequest(requests=[{"grid": [{"values": [0.5] * 20_001}]}]), "GridAxis.values"),
        (
            refits_pb2.ComputeRefitsRequest(requests=[{"evaluate": {str(one): "" for one in range(1001)}}]),
            "RefitRequest.evaluate",
        ),
        (spectra_pb2.ComputeSpectraRequest(source={"rows": {"row_ids": {"shape": [300] * 33}}}), "Array.shape"),
        (features_pb2.UploadFeaturesRequest(header={"arrays": [{"shape": [-1] * 33}]}), "ArrayHeader.shape"),
    ],
)
def test_a_list_beyond_its_bound_is_refused_and_one_at_its_bound_is_not(request_, field):
    with pytest.raises(ServiceError) as raised:
        check_bounds(request_.SerializeToString(), request_.DESCRIPTOR)
    assert raised.value.kind is ErrorKind.TOO_LARGE
    assert raised.value.metadata == {"field": field, "limit": str(BOUNDS[field])}
    longest = refits_pb2.ComputeRefitsRequest(requests=[{}] * 1000)
    check_bounds(longest.SerializeToString(), longest.DESCRIPTOR)


def test_lists_of_numbers_are_counted_in_both_forms():
    apart = b"".join(b"\x11" + struct.pack("<d", 0.5) for _ in range(20_001))  # field 2, each with a key of its own
    axis = refits_pb2.GridAxis.DESCRIPTOR
    with pytest.raises(ServiceError, match=r"GridAxis\.values"):
        check_bounds(apart, axis)
    check_bounds(apart[9:], axis)


def test_the_refusal_costs_milliseconds_however_long_the_list_is():
    decode = decoder(refits_pb2.ComputeRefitsRequest.FromString)
    content = b"\x0a\x00" * 2**24  # 16 million requests, which would take gigabytes
    begun = time.process_time()
    with pytest.raises(ServiceError) as raised:
        checked(decode(content))
    assert raised.value.kind is ErrorKind.TOO_LARGE
    assert time.process_time() - begun < 0.5  # 2 ms; to decode them takes seconds


def test_fields_that_nobody_knows_count_too():
    content = b"\xf8\x7f\x00" * 500_000  # field 2047
    with pytest.raises(ServiceError) as raised:
        check_bounds(content, refits_pb2.ComputeRefitsRequest.DESCRIPTOR)
    assert raised.value.kind is ErrorKind.TOO_LARGE


@pytest.mark.parametrize(
    "content", [b"\x0a", b"\x0a\xff", b"\x0a\x05a", b"\x0b\x0b", b"\xff" * 40, b"\x0a\x02\x5a\x7f", b"\x09\x00"]
)
def test_what_is_no_message_is_left_to_the_parser(content):
    check_bounds(content, refits_pb2.ComputeRefitsRequest.DESCRIPTOR)


def test_messages_without_lists_are_not_looked_at():
    chunk = features_pb2.UploadFeaturesRequest(chunk=arrays_pb2.ArrayChunk(name="y", data=b"\x0a\x00" * 2**19))
    check_bounds(chunk.SerializeToString(), chunk.DESCRIPTOR)
    check_bounds(b"\x0a\x00" * 500_000, info_pb2.GetInfoRequest.DESCRIPTOR)
