"""The reader of each layout."""

from enum import StrEnum
from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_server.datasets.layouts.celeba import read_celeba
from penult_server.datasets.layouts.civilcomments import read_civilcomments
from penult_server.datasets.layouts.columns import Columns
from penult_server.datasets.layouts.multinli import read_multinli
from penult_server.datasets.layouts.table import read_table
from penult_server.datasets.layouts.waterbirds import read_waterbirds
from penult_server.datasets.rows import Rows
from penult_server.errors import ServiceError


class Layout(StrEnum):
    """How the files of a dataset are laid out."""

    TABLE = "table"
    WATERBIRDS = "waterbirds"
    CELEBA = "celeba"
    CIVILCOMMENTS = "civilcomments"
    MULTINLI = "multinli"


_READERS = {
    Layout.WATERBIRDS: read_waterbirds,
    Layout.CELEBA: read_celeba,
    Layout.CIVILCOMMENTS: read_civilcomments,
    Layout.MULTINLI: read_multinli,
}


def read_layout(layout: Layout, source: Path, columns: Columns) -> Rows:
    """Read the labels of a dataset, and which examples they are of.

    Raises ServiceError: BAD_TABLE, FILES_MISSING, EMPTY_GROUP, ATTRIBUTE_MISSING, and INVALID_ARGUMENT for columns
    that are named beside a published layout.
    """
    if layout is Layout.TABLE:
        return read_table(source, columns)
    if columns.named() or columns.splits:
        what = "columns are" if columns.named() else "splits are"
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{what} named for layout='table' only; {layout.value!r} has its own",
            layout=layout.value,
        )
    return _READERS[layout](source)
