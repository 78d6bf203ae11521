"""Waterbirds (Sagawa et al. 2020): the directory `waterbird_complete95_forest2water2`, of WILDS `waterbirds_v1.0`.

`metadata.csv` with the columns img_id, img_filename (relative to it), y (0 landbird, 1 waterbird), split (0 train,
1 val, 2 test) and place (0 land, 1 water); others are not read.
"""

from pathlib import Path

from penult_server.datasets.layouts.published import Published, PublishedLayout, compared, directory_of, locate
from penult_server.datasets.rows import SPLITS, Rows, numbered_split_index
from penult_server.datasets.tables.csv_file import read_csv
from penult_server.records import Attribute

PUBLISHED = Published(
    groups={"train": (3498, 184, 56, 1057), "val": (467, 466, 133, 133), "test": (2255, 2255, 642, 642)}
)
METADATA_FILES = (
    "metadata.csv",
    "waterbird_complete95_forest2water2/metadata.csv",
    "waterbirds_v1.0/metadata.csv",
)
COLUMNS = ("img_id", "img_filename", "y", "split", "place")


def read_waterbirds(source: Path) -> Rows:
    """Read the directory, the one above it, or the CSV file in it.

    Raises ServiceError: FILES_MISSING, BAD_TABLE naming the row, EMPTY_GROUP.
    """
    directory = directory_of(source)
    table = read_csv(source if source.is_file() else locate(directory, METADATA_FILES), lambda _: COLUMNS)
    rows = Rows(
        modality="image",
        where=table.where,
        base=table.file.parent,
        paths=table.filled_texts("img_filename").to_pylist(),
        row_id=table.row_ids("img_id"),
        splits=SPLITS,
        split_index=numbered_split_index(table, "split"),
        classes=("landbird", "waterbird"),
        y=table.choices("y", {"0": 0, "1": 1}, "landbird, waterbird"),
        attributes=(Attribute(name="place", values=("land", "water")),),
        a=table.choices("place", {"0": 0, "1": 1}, "land, water")[:, None],
    )
    return compared(rows, PUBLISHED)


LAYOUT = PublishedLayout(
    files="metadata.csv and the images beside it",
    groups="bird x place",
    published=PUBLISHED,
    read=read_waterbirds,
)
