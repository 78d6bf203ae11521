"""Uploads that are refused by their headers: nothing of them is taken, and nothing is kept."""

import shutil
from collections import namedtuple

import pytest

from penult_proto.errors import ErrorKind
from penult_proto.limits import MOST_LABELS
from penult_proto.v1 import arrays_pb2
from penult_proto.v1 import features_pb2 as pb
from penult_server.compute import upload_sizes
from penult_server.compute.transfer import receive
from penult_server.errors import ServiceError
from penult_server.registry.long_text import LONG, parsed, text_of

SIZES = {arrays_pb2.DTYPE_INT64: 8, arrays_pb2.DTYPE_FLOAT32: 4}
Usage = namedtuple("Usage", "total used free")


def array(name: str, *shape: int, dtype=arrays_pb2.DTYPE_FLOAT32) -> arrays_pb2.ArrayHeader:
    total = SIZES[dtype]
    for side in shape:
        total *= side
    return arrays_pb2.ArrayHeader(name=name, dtype=dtype, shape=shape, total_bytes=total)


def upload(n: int, d: int, *more: arrays_pb2.ArrayHeader, **labels) -> pb.UploadFeaturesRequest:
    y = array("y", n, dtype=arrays_pb2.DTYPE_INT64)
    return pb.UploadFeaturesRequest(header={"arrays": [y, *more, array("features", n, d)], "labels": labels})


def refused(tmp_path, request: pb.UploadFeaturesRequest) -> ServiceError:
    """The refusal of an upload of which only the header was sent: to look for more would be another error."""

    def pieces():
        pytest.fail("more than the header was taken")
        yield

    with pytest.raises(ServiceError) as raised:
        receive(tmp_path, request.header, pieces())
    assert not list(tmp_path.iterdir())
    return raised.value


def test_a_row_of_gigabytes_is_refused(tmp_path):
    assert refused(tmp_path, upload(1, 2**31)).kind is ErrorKind.TOO_LARGE
    assert refused(tmp_path, upload(10, 4, array("logits", 10, 2**31))).kind is ErrorKind.TOO_LARGE


def test_labels_beyond_the_free_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(upload_sizes, "host_bytes", lambda: 2**30)
    error = refused(tmp_path, upload(2 * 10**9, 1))
    assert error.kind is ErrorKind.OUT_OF_MEMORY
    assert "2000000000 rows" in error.message


def test_features_beyond_the_free_disk_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**40, 2**40 - 2**30, 2**30))
    assert refused(tmp_path, upload(2**20, 2**10)).kind is ErrorKind.DISK_FULL


@pytest.mark.parametrize(
    "labels",
    [
        {"classes": map(str, range(310)), "attribute": "a", "attribute_values": map(str, range(310))},
        {"classes": map(str, range(MOST_LABELS + 1))},
        {"classes": ["x" * 257, "b"]},
        {"classes": ["a", "b"], "masks": ["x" * 10**6]},
        {"classes": [f"{k:0200}" for k in range(150)], "attribute_values": [f"{k:0200}" for k in range(150)]},
    ],
)
def test_names_are_bounded_in_number_and_length(tmp_path, labels):
    assert refused(tmp_path, upload(4, 2, **labels)).kind is ErrorKind.TOO_LARGE


def test_a_set_of_many_groups_is_read_once():
    group = {"name": "one of many", "class_name": "one", "count": 3}
    large, small = pb.FeatureSet(digest="a", groups=[group] * 2000), pb.FeatureSet(digest="b", groups=[group])
    for feature_set in (large, small):
        text = text_of(feature_set)
        assert parsed(text, pb.FeatureSet) == parsed(text, pb.FeatureSet) == feature_set
        assert (len(text) > LONG) == (feature_set is large)
        found = parsed(text, pb.FeatureSet)
        found.digest = "changed"
        assert parsed(text, pb.FeatureSet) == feature_set  # everybody has a copy
