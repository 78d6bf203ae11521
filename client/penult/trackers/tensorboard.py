"""Event files of TensorBoard."""

from __future__ import annotations

import struct
from pathlib import Path

from penult.errors import invalid
from penult.files.atomic import whole_file
from penult.results.records import Run
from penult.trackers.scalars import scalars


def to_tensorboard(run: Run, directory: Path) -> Path:
    """Write a run's scalars to an event file below `directory`, in a folder that its id names; returns the folder.

    Written by itself, since the format is small and TensorBoard's own writer brings a dozen packages: records of
    TFRecord (length, masked CRC-32C, content) that hold the messages `Event` and `Summary` of TensorBoard. Equal runs
    give equal bytes, and the same export again replaces the file by itself.

    Raises `InvalidRequest` where the directory cannot be written.
    """
    target = directory / run.id
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise invalid(f"{target} cannot be made: {error.strerror or error}", argument="to") from None
    ended = run.created.timestamp() if run.created is not None else 0.0
    content = _record(_double(1, ended) + _bytes(3, b"brain.Event:2"))
    for one in scalars(run):
        value = _bytes(1, one.tag.encode()) + _float(2, one.value)
        event = _double(1, one.seconds) + _varint(2, one.step) + _bytes(5, _bytes(1, value))
        content += _record(event)
    with whole_file(target / f"events.out.tfevents.{int(ended)}.penult") as staging:
        staging.write_bytes(content)
    return target


def _record(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + struct.pack("<I", _masked(length)) + content + struct.pack("<I", _masked(content))


def _masked(content: bytes) -> int:
    """The checksum of a TFRecord: CRC-32C, rotated right by 15 bits, plus a constant."""
    crc = crc32c(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(content: bytes) -> int:
    """CRC-32 by the polynomial of Castagnoli, reflected 0x82F63B78 (RFC 3720, appendix B.4)."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _number(value: int) -> bytes:
    """A number of protobuf, 7 bits a byte, the lowest first."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _varint(field: int, value: int) -> bytes:
    return _number(field << 3) + _number(value)


def _double(field: int, value: float) -> bytes:
    return _number(field << 3 | 1) + struct.pack("<d", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _number(field << 3 | 2) + _number(len(value)) + value


def _float(field: int, value: float) -> bytes:
    return _number(field << 3 | 5) + struct.pack("<f", value)
