"""Limits that both ends of the wire keep."""

MESSAGE_BYTES = 64 * 2**20
"""Bytes of one message at most, in either direction."""
MESSAGE_OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
)
"""What a channel or server of gRPC is told of MESSAGE_BYTES."""
CHUNK_BYTES = 2**20
"""Bytes of one piece of a large array at most."""
MOST_SIDES = 32
"""Dimensions of an array at most."""
MOST_LABELS = 100_000
"""Classes, values of an attribute, or groups at most."""
