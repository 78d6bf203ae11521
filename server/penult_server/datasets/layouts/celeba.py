"""CelebA (Liu et al. 2015): hair colour against gender, as in Sagawa et al. 2020.

`list_attr_celeba.txt` (line 1 the number of images, line 2 the names of the attributes, then a file name and -1 or 1
for each), `list_eval_partition.txt` (file name and 0 train, 1 val, 2 test) and the images in `img_align_celeba`;
beside one another or in the folders Anno, Eval and Img of the official archive. The .csv form with the columns
image_id, ... and image_id, partition, and images one folder deeper, is read, too. The two lists are joined by name.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportAttributeAccessIssue=false
# pyarrow is untyped.

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from penult_server.datasets.layouts.published import Published, PublishedLayout, compared, directory_of, locate, unlike
from penult_server.datasets.rows import SPLITS, Rows, numbered_split_index
from penult_server.datasets.tables.csv_file import read_csv
from penult_server.datasets.tables.spaced import read_spaced, read_words
from penult_server.datasets.tables.table import Table, Texts, bad_table, require_columns
from penult_server.notes import Note
from penult_server.records import Attribute

PUBLISHED = Published(
    groups={
        "train": (71629, 66874, 22880, 1387),
        "val": (8535, 8276, 2874, 182),
        "test": (9767, 7535, 2480, 180),
    }
)
CLASS, ATTRIBUTE = "Blond_Hair", "Male"
ATTRIBUTE_FILES = (
    "list_attr_celeba.txt",
    "list_attr_celeba.csv",
    "Anno/list_attr_celeba.txt",
)
PARTITION_FILES = ("list_eval_partition.txt", "list_eval_partition.csv", "Eval/list_eval_partition.txt")
IMAGE_FOLDERS = ("img_align_celeba/img_align_celeba", "img_align_celeba", "Img/img_align_celeba")


def read_celeba(source: Path) -> Rows:
    """Read the directory that holds the lists and the images.

    Raises ServiceError: FILES_MISSING, BAD_TABLE naming the row or line, EMPTY_GROUP.
    """
    directory = directory_of(source)
    attributes, notes = _read_attributes(locate(directory, ATTRIBUTE_FILES))
    partition = _read_partition(locate(directory, PARTITION_FILES))
    names = attributes.filled_texts("image_id")
    rows = Rows(
        modality="image",
        where=attributes.where,
        base=locate(directory, IMAGE_FOLDERS),
        paths=names.to_pylist(),
        row_id=np.arange(len(attributes), dtype=np.uint64),
        splits=SPLITS,
        split_index=_split_index(attributes, names, partition),
        classes=("not blond", "blond"),
        y=attributes.choices(CLASS, {"-1": 0, "1": 1}),
        attributes=(Attribute(name="gender", values=("female", "male")),),
        a=attributes.choices(ATTRIBUTE, {"-1": 0, "1": 1})[:, None],
    )
    return compared(replace(rows, notes=notes), PUBLISHED)


def _read_attributes(file: Path) -> tuple[Table, tuple[Note, ...]]:
    """The list of attributes, and a note where it is not as long as it says."""
    wanted = ("image_id", CLASS, ATTRIBUTE)
    if file.suffix == ".csv":
        return read_csv(file, lambda _: wanted), ()
    count, names = read_words(file, 2)
    if len(count) != 1 or not count[0].isdigit():
        raise bad_table(f"line 1 of {file.name} is no number; expected that of the images", file=file)
    header = ["image_id", *names]
    require_columns(header, wanted, file)
    table = read_spaced(file, header, wanted, skip=2)
    differs = len(table) != int(count[0])
    note = unlike(f"{file.name} lists {len(table)} images, its first line says {count[0]}")
    return table, (note,) if differs else ()


def _read_partition(file: Path) -> Table:
    wanted = ("image_id", "partition")
    return read_csv(file, lambda _: wanted) if file.suffix == ".csv" else read_spaced(file, wanted, wanted)


def _split_index(attributes: Table, names: Texts, partition: Table) -> NDArray[np.int64]:
    """The split of each image, joined by name. Each of the two lists names each image once, and the same ones."""
    listed = partition.filled_texts("image_id")
    for table, column in ((attributes, names), (partition, listed)):
        table.check_unique("image_id", column.to_numpy(zero_copy_only=False).astype(np.str_))
    splits = numbered_split_index(partition, "partition")
    _check_covered(attributes, names, partition, listed, "stands in no split")
    _check_covered(partition, listed, attributes, names, "has no attributes")
    return splits[pc.index_in(names, value_set=listed).to_numpy(zero_copy_only=False)]


def _check_covered(table: Table, names: Texts, other: Table, others: Texts, what: str) -> None:
    missing = np.flatnonzero(pc.is_null(pc.index_in(names, value_set=others)).to_numpy(zero_copy_only=False))
    if len(missing):
        row = int(missing[0])
        raise table.error(row, f"{names[row].as_py()!r} {what}: {other.file.name} does not name it", "image_id")


LAYOUT = PublishedLayout(
    files="list_attr_celeba.txt, list_eval_partition.txt (or .csv), img_align_celeba/",
    groups="blond hair x gender",
    published=PUBLISHED,
    read=read_celeba,
)
