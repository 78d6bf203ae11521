"""The reader of each layout."""

from importlib import import_module
from pathlib import Path

from penult_proto.enums import names_of
from penult_proto.errors import ErrorKind
from penult_proto.v1 import datasets_pb2
from penult_server.datasets.layouts.columns import Columns
from penult_server.datasets.layouts.published import PublishedLayout
from penult_server.datasets.layouts.shared import SharedLayout
from penult_server.datasets.layouts.table import read_table
from penult_server.datasets.rows import Rows
from penult_server.errors import ServiceError

TABLE = "table"
"""The layout of a table of any other dataset."""
LAYOUTS = tuple(name for name in names_of(datasets_pb2.DatasetLayout) if name != TABLE)
"""All other layouts: their names on the wire, which are those of their modules in this package."""


def layout_of(name: str) -> PublishedLayout | SharedLayout:
    """What the module of a layout says of it."""
    return import_module(f"penult_server.datasets.layouts.{name}").LAYOUT


PUBLISHED_LAYOUTS = tuple(name for name in LAYOUTS if isinstance(layout_of(name), PublishedLayout))
"""Layouts of published datasets."""


def read_layout(layout: str, source: Path, columns: Columns, unpacked: Path) -> Rows:
    """Read the labels of a dataset, and which examples they are of; `unpacked` is where examples without files go.

    Raises ServiceError: BAD_TABLE, FILES_MISSING, EMPTY_GROUP, ATTRIBUTE_MISSING, and INVALID_ARGUMENT for columns
    that are named beside a published layout.
    """
    if layout == TABLE:
        return read_table(source, columns)
    form = layout_of(layout)
    if isinstance(form, SharedLayout):
        return form.read(source, columns, unpacked)
    if columns.named() or columns.splits:
        what = "columns are" if columns.named() else "splits are"
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{what} named for layout='table', 'imagefolder' and 'huggingface' only; '{layout}' has its own",
            layout=layout,
        )
    return form.read(source)
