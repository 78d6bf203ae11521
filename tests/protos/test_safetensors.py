"""Headers of safetensors files as the library of that name writes and reads them."""

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import load, save

from penult_proto.safetensors import LENGTH, HeaderError, WeightsDigest, header_bytes, parse_header
from penult_server.stores.checkpoints import digest_weights

STATE = {
    "b.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array(3, dtype=np.int64),
    'ü "quoted"': np.ones((2, 2, 1), dtype=np.float16),
    "empty": np.zeros((0, 4), dtype=np.float64),
    "flags": np.array([True, False, True]),
    "bytes": np.arange(5, dtype=np.uint8),
}


def first_bytes(content: bytes) -> bytes:
    return content[: LENGTH.size + LENGTH.unpack_from(content)[0]]


def test_tensors_lie_where_the_header_says_and_have_the_store_s_digest():
    content = save(STATE, {"format": "pt"})
    head = first_bytes(content)
    header = parse_header(head)
    assert header.metadata == {"format": "pt"}
    assert set(header.tensors) == set(STATE)
    assert len(head) + header.data_bytes == len(content)
    digest = WeightsDigest()
    for name in sorted(header.tensors):
        one = header.tensors[name]
        raw = content[len(head) + one.start : len(head) + one.end]
        assert one.shape == STATE[name].shape
        assert raw == STATE[name].tobytes()
        digest.begin_tensor(one)
        digest.update(raw)
    assert digest.hexdigest() == digest_weights(STATE)


def test_another_header_over_the_same_bytes():
    content = save(STATE)
    head = first_bytes(content)
    changed = header_bytes(parse_header(head), shapes={"b.weight": (2, 3, 1, 1)}, metadata={"format": "pt"})
    assert len(changed) % 8 == 0
    loaded = load(changed + content[len(head) :])
    for name, tensor in STATE.items():
        shape = (2, 3, 1, 1) if name == "b.weight" else tensor.shape
        np.testing.assert_array_equal(loaded[name], tensor.reshape(shape), strict=True)
    assert parse_header(changed).metadata == {"format": "pt"}


def with_json(said: object) -> bytes:
    text = json.dumps(said).encode()
    return struct.pack("<Q", len(text)) + text


GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "length"),
        (b"\x01", "length"),
        (with_json({})[:-1], "length"),
        (struct.pack("<Q", 2) + b"{]", "cannot be read"),
        (with_json([]), "cannot be read"),
        (with_json({"a": 1}), "cannot be read"),
        (with_json({"a": GOOD | {"shape": None}}), "cannot be read"),
        (with_json({"a": GOOD | {"dtype": "F8"}}), "no checkpoint stores"),
        (with_json({"a": GOOD | {"shape": [-2]}}), "no checkpoint stores"),
        (with_json({"a": GOOD | {"shape": [3]}}), "has 8 bytes"),
        (with_json({"a": GOOD | {"data_offsets": [4, 12]}}), "byte 0 was next"),
        (with_json({"a": GOOD, "b": GOOD}), "byte 8 was next"),
    ],
)
def test_what_is_no_header(content: bytes, said: str):
    with pytest.raises(HeaderError, match=said):
        parse_header(content)
