"""Limits that both ends of the wire keep."""

MESSAGE_BYTES = 64 * 2**20
"""Most bytes of one message, in either direction."""
MESSAGE_OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
)
"""Options that set MESSAGE_BYTES for a channel or server of gRPC."""
CHUNK_BYTES = 2**20
"""Most bytes of one piece of a large array."""
MOST_FILES = 100
"""Most files of one upload."""
MOST_FILE_BYTES = 64 * 2**30
"""Most bytes of all files of one upload."""
MOST_TABLE_BYTES = 4 * 2**30
"""Most bytes of a table, unpacked: it is read whole."""
MOST_IMAGE_BYTES = 2**28
"""Most bytes of the file of one image."""
MOST_IMAGE_PIXELS = 80_000_000
"""Most pixels of one image, about 8,900 x 8,900; told from its header, before it is decoded."""
MOST_CONFIG_BYTES = 2**24
"""Most bytes of a file that says what model a directory is."""
MOST_FOLDER_ENTRIES = 1000
"""Most entries of a directory that holds a model."""
MOST_SIDES = 32
"""Most dimensions of an array."""
MOST_LABELS = 25_000
"""Most classes, values of an attribute, or groups: every answer about a set names all of its groups."""
MOST_NAME = 256
"""Most characters of the name of a class, a value, an attribute or a mask of an upload."""
MOST_GROUP_NAMES = 8 * 2**20
"""Most bytes of the names of all groups of an upload together."""
MOST_ROW_BYTES = 16 * 2**20
"""Most bytes of one row of an array: a row is in memory as a whole."""
