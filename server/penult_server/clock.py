"""Times in messages."""

import time

from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(seconds: float | None = None) -> Timestamp:
    """`seconds` since 1970 UTC (now by default) as a protobuf timestamp."""
    stamp = Timestamp()
    stamp.FromNanoseconds(int((time.time() if seconds is None else seconds) * 1e9))
    return stamp
