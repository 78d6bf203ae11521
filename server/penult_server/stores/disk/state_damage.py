"""The training state of a run compared with the digests in its header, without loading torch."""

import json
import zlib
from pathlib import Path
from typing import Any

from penult_proto.safetensors import LENGTH, MOST_HEADER_BYTES, HeaderError, parse_header
from penult_server.stores.disk.sealed import SEAL, unsealed

UNSEALED_FORMAT = 2
PIECE = 2**20


def damage_of_state(path: Path) -> str:
    """What is wrong with a state; nothing where it is whole, or of a format before there were digests."""
    try:
        with path.open("rb") as file:
            length = file.read(LENGTH.size)
            n_bytes = LENGTH.unpack(length)[0] if len(length) == LENGTH.size else MOST_HEADER_BYTES
            if n_bytes >= MOST_HEADER_BYTES:
                return "has no header"
            first = length + file.read(n_bytes)
            header = parse_header(first)
            said: dict[str, Any] = json.loads(header.metadata["state"])
            if not (said["format"] == UNSEALED_FORMAT and SEAL not in said):
                said = unsealed(said)
            for name, tensor in header.tensors.items():
                file.seek(len(first) + tensor.start)
                checksum, left = 0, tensor.n_bytes
                while left and (content := file.read(min(PIECE, left))):
                    checksum = zlib.crc32(content, checksum)
                    left -= len(content)
                if left or checksum != said["checksums"].get(name):
                    return f"has a damaged tensor {name}"
    except (OSError, HeaderError, ValueError, TypeError, KeyError, AttributeError) as error:
        return f"cannot be read ({error})"
    return ""
