"""MultiNLI (Williams et al. 2018) with the splits of Sagawa et al. 2020: pairs of a premise and a hypothesis.

`metadata_random.csv` with an unnamed index, gold_label, sentence2_has_negation and split (0 train, 1 val, 2 test),
and the sentences in `multinli_1.0_train.jsonl`, `multinli_1.0_dev_matched.jsonl` and
`multinli_1.0_dev_mismatched.jsonl`. The index counts the lines of the three files one after the other; lines without
an agreed label ("-") were dropped after counting, so that it has gaps. Labels: 0 contradiction, 1 entailment,
2 neutral. The attribute says whether nobody, no, never or nothing is a word of the hypothesis in small letters,
punctuation removed.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportAttributeAccessIssue=false, reportUnknownParameterType=false
# pyarrow is untyped.

import re
import string
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from penult_server.datasets.layouts.published import Published, PublishedLayout, compared, directory_of, locate, unlike
from penult_server.datasets.rows import SPLITS, Rows, numbered_split_index
from penult_server.datasets.tables.csv_file import read_csv
from penult_server.datasets.tables.json_lines import read_json_lines
from penult_server.datasets.tables.table import Table, Texts
from penult_server.notes import Note
from penult_server.records import Attribute

PUBLISHED = Published(
    groups={
        "train": (57498, 11158, 67376, 1521, 66630, 1992),
        "val": (22814, 4634, 26949, 613, 26655, 797),
        "test": (34597, 6655, 40496, 886, 39930, 1148),
    }
)
CLASSES = ("contradiction", "entailment", "neutral")
NEGATIONS = ("nobody", "no", "never", "nothing")
METADATA_FILES = ("metadata_random.csv", "data/metadata_random.csv")
SENTENCE_FILES = tuple(f"multinli_1.0_{part}.jsonl" for part in ("train", "dev_matched", "dev_mismatched"))
SENTENCE_FOLDERS = ("", "multinli_1.0/", "data/", "data/multinli_1.0/", "../multinli_1.0/")
COLUMNS = ("", "gold_label", "sentence2_has_negation", "split")


def read_multinli(source: Path) -> Rows:
    """Read the directory, or the CSV file of labels in it (another division into splits, say).

    Raises ServiceError: FILES_MISSING, BAD_TABLE naming the row or line, EMPTY_GROUP.
    """
    directory = directory_of(source)
    table = read_csv(source if source.is_file() else locate(directory, METADATA_FILES), lambda _: COLUMNS)
    files = [locate(directory, [folder + name for folder in SENTENCE_FOLDERS]) for name in SENTENCE_FILES]
    row_id = table.row_ids("")
    y = table.choices("gold_label", {str(i): i for i in range(3)} | {name: i for i, name in enumerate(CLASSES)})
    premises, hypotheses = _sentences(table, row_id, y, files)
    a = table.choices("sentence2_has_negation", {"0": 0, "1": 1})
    rows = Rows(
        modality="text",
        where=table.where,
        base=directory,
        texts=(premises, hypotheses),
        ids=row_id.astype(np.str_).tolist(),
        row_id=row_id,
        splits=SPLITS,
        split_index=numbered_split_index(table, "split"),
        classes=CLASSES,
        y=y,
        attributes=(Attribute(name="negation", values=("no negation", "negation")),),
        a=a[:, None],
    )
    return compared(replace(rows, notes=_negation_note(table, hypotheses, a)), PUBLISHED)


def has_negation(texts: Texts) -> NDArray[np.int64]:
    """Whether each text holds one of the words, shape (N,); small letters, ASCII punctuation removed, cut at spaces."""
    plain = pc.replace_substring_regex(pc.utf8_lower(texts), f"[{re.escape(string.punctuation)}]", "")
    found = pc.match_substring_regex(plain, f"(^| )({'|'.join(NEGATIONS)})( |$)")
    return found.to_numpy(zero_copy_only=False).astype(np.int64)


def _sentences(table: Table, index: NDArray[np.uint64], y: NDArray[np.int64], files: list[Path]) -> tuple[Texts, Texts]:
    """Premise and hypothesis of each row, looked up by its index; their labels must be the table's."""
    parts = [read_json_lines(file, ("sentence1", "sentence2", "gold_label")) for file in files]
    ends = np.cumsum([len(part) for part in parts])
    beyond = np.flatnonzero(index >= ends[-1])
    if len(beyond):
        row = int(beyond[0])
        raise table.error(row, f"the index {index[row]} lies beyond the {ends[-1]} lines of {_listed(files)}")
    premise, hypothesis, label = (
        pa.concat_arrays([part.texts(name) for part in parts]).take(pa.array(index))
        for name in ("sentence1", "sentence2", "gold_label")
    )
    known = pc.index_in(label, value_set=pa.array(CLASSES, pa.large_string()))
    differ = np.flatnonzero(known.fill_null(-1).to_numpy(zero_copy_only=False) != y)
    if len(differ):
        row = int(differ[0])
        part = int(np.searchsorted(ends, index[row], side="right"))
        there = parts[part].where(int(index[row]) - int(ends[part] - len(parts[part])))
        raise table.error(
            row,
            f"its label is {CLASSES[y[row]]!r}, but {there}, which its index {index[row]} counts to, is labelled "
            f"{label[row].as_py()!r}; these are not the files that the table was made from",
        )
    return premise, hypothesis


def _negation_note(table: Table, hypotheses: Texts, a: NDArray[np.int64]) -> tuple[Note, ...]:
    differ = np.flatnonzero(has_negation(hypotheses) != a)
    if not len(differ):
        return ()
    return (
        unlike(
            f"sentence2_has_negation does not say whether {', '.join(NEGATIONS)} occur in {len(differ)} rows, first in "
            f"{table.where(int(differ[0]))}; the column was taken"
        ),
    )


def _listed(files: list[Path]) -> str:
    return ", ".join(file.name for file in files)


LAYOUT = PublishedLayout(
    files="metadata_random.csv, multinli_1.0_train.jsonl, multinli_1.0_dev_matched.jsonl, ..._mismatched.jsonl",
    groups="3 labels x negation; pairs of premise and hypothesis",
    published=PUBLISHED,
    read=read_multinli,
)
