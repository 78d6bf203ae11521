"""CivilComments (Borkan et al. 2019) as distributed by WILDS (Koh et al. 2021): `all_data_with_identities.csv`.

The first column, without a name, is the index; `comment_text`, `split` (train, val, test), and fractions of annotators
in `toxicity` and eight identities. A comment is toxic, and mentions an identity, from a fraction of one half on. The
first attribute is whether any of the eight is mentioned; the sixteen evaluation groups, identity x class, overlap
and are masks.
"""

from pathlib import Path

import numpy as np

from penult_server.datasets.layouts.published import Published, PublishedLayout, compared, directory_of, locate
from penult_server.datasets.rows import SPLITS, Rows
from penult_server.datasets.tables.csv_file import read_csv
from penult_server.records import Attribute

PUBLISHED = Published(
    groups={"train": (148186, 90337, 12731, 17784), "test": (74780, 43778, 6455, 8769)},
    # The validation split is published as a total only.
    totals={"val": 45180},
)
IDENTITIES = ("male", "female", "LGBTQ", "christian", "muslim", "other_religions", "black", "white")
CLASSES = ("not toxic", "toxic")
THRESHOLD = 0.5
COLUMNS = ("", "comment_text", "split", "toxicity", *IDENTITIES)
FILES = ("all_data_with_identities.csv", "civilcomments_v1.0/all_data_with_identities.csv")


def read_civilcomments(source: Path) -> Rows:
    """Read the CSV file, the directory that holds it, or the one above.

    Raises ServiceError: FILES_MISSING, BAD_TABLE naming the row, EMPTY_GROUP.
    """
    directory = directory_of(source)
    file = source if source.is_file() else locate(directory, FILES)
    table = read_csv(file, lambda _: COLUMNS)
    y = (table.numbers("toxicity") >= THRESHOLD).astype(np.int64)
    mentions = np.stack([table.numbers(name) >= THRESHOLD for name in IDENTITIES], axis=1)
    any_identity = mentions.any(axis=1, keepdims=True)
    row_id = table.row_ids("")
    rows = Rows(
        modality="text",
        where=table.where,
        base=directory,
        texts=(table.texts("comment_text"),),
        ids=row_id.astype(np.str_).tolist(),
        row_id=row_id,
        splits=SPLITS,
        split_index=table.choices("split", {name: i for i, name in enumerate(SPLITS)}),
        classes=CLASSES,
        y=y,
        attributes=(
            Attribute(name="identity", values=("no identity", "any identity")),
            *(Attribute(name=name, values=(f"not {name}", name)) for name in IDENTITIES),
        ),
        a=np.concatenate([any_identity, mentions], axis=1).astype(np.int64),
        masks=tuple(f"{name}, {toxic}" for name in IDENTITIES for toxic in CLASSES),
        in_masks=(mentions[:, :, None] & (y[:, None, None] == np.arange(len(CLASSES)))).reshape(len(table), -1),
    )
    return compared(rows, PUBLISHED)


LAYOUT = PublishedLayout(
    files="all_data_with_identities.csv (WILDS)",
    groups="toxicity x any of 8 identities; 16 masks, identity x toxicity",
    published=PUBLISHED,
    read=read_civilcomments,
)
