"""Datasets of a server: ``client.datasets``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, cast, overload

from penult.arguments.coerce import build, choice, flag, items, listed, names, path, scalar, text
from penult.calls import jobs, storage
from penult.calls.catalog.paging import collect, describe
from penult.calls.job import Job, dataset_result
from penult.connection.rpc import Connection
from penult.errors import invalid, shown
from penult.results.lists.columns import dataset_row
from penult.results.lists.listing import Listing
from penult.results.records import Dataset
from penult.results.space.deletion import Deletion
from penult.types import Layout
from penult.wire import decode, encode
from penult.wire.encode import Since
from penult.wire.references import dataset_name
from penult_proto.v1 import catalog_pb2, datasets_pb2, jobs_pb2

SplitValue = str | int | float
"""A value of a table's column of splits, booleans included."""
MOST_DESCRIPTION = 2**16
"""Characters."""


class TableColumns(TypedDict, total=False):
    """Names of a table's columns, where they are not the usual ones."""

    split: str
    """Splits; usually ``"split"``."""
    y: str
    """Classes; usually ``"y"``."""
    path: str
    """Paths of images; usually ``"path"``."""
    text: str | Sequence[str]
    """Texts: one column, or two that are read as pairs; usually ``"text"``, and ``"text_pair"`` where there is one."""
    id: str
    """Unique ids of the rows; usually ``"id"`` where there is such a column."""
    attributes: str | Sequence[str]
    """Attributes; usually every column that is nothing else. A call that names none makes groups from the first."""
    masks: str | Sequence[str]
    """Columns of 0 and 1, each a set of examples that is evaluated for itself; the sets may overlap."""


class Datasets:
    """The datasets that can be finetuned on."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(
        self,
        *,
        tag: str | Sequence[str] | None = None,
        name: str | None = None,
        since: Since | None = None,
        user: str | None = None,
        limit: int | None = None,
        timeout: float = 30.0,
    ) -> Listing[Dataset]:
        """Packaged datasets, then registered ones, newest first, as a list that prints as a table.

        Parameters
        ----------
        tag, name, since, user, limit : as for `Runs.list`. Packaged datasets have neither tags, time nor user.
        timeout : seconds for each page of the list.
        """
        found = collect(
            lambda options, length: self._connection.unary(
                self._connection.stubs.datasets.ListDatasets,
                build(datasets_pb2.ListDatasetsRequest, options=options, limit=length),
                timeout=timeout,
            ),
            lambda page: page.datasets,
            encode.list_options(tag=tag, name=name, since=since, user=user),
            limit,
        )
        return Listing(map(decode.dataset, found), dataset_row)

    def get(self, name: Dataset | str, *, timeout: float = 30.0) -> Dataset:
        """The dataset of that name. Raises `NotFound`, listing those that exist."""
        request = build(datasets_pb2.GetDatasetRequest, name=dataset_name(name, "name"))
        return decode.dataset(
            self._connection.unary(self._connection.stubs.datasets.GetDataset, request, timeout=timeout)
        )

    def describe(
        self,
        dataset: Dataset | str,
        *,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        timeout: float = 30.0,
    ) -> Dataset:
        """Tag a registered dataset, write a note; see `Runs.describe`. It keeps its name. Returns it."""
        name, _ = describe(
            self._connection,
            catalog_pb2.THING_KIND_DATASET,
            dataset_name(dataset),
            name=None,
            tags=tags,
            note=note,
            timeout=timeout,
        )
        return self.get(name, timeout=timeout)

    def delete(
        self,
        dataset: Dataset | str,
        *,
        dependents: bool = False,
        dry_run: bool = False,
        timeout: float = storage.DELETE_SECONDS,
    ) -> Deletion:
        """Delete a registered dataset: its labels and texts. Images are where they were before; they are never touched.

        What depends on it is refused, and with ``dependents=True`` deleted: the runs trained on it with their
        checkpoints, and feature sets extracted from it. Where its content is registered under another name, too, only
        this name goes.
        Packaged datasets cannot be deleted (`InvalidRequest`).

        Parameters
        ----------
        dependents : delete what depends on it, too.
        dry_run : only say what would go, what stays, and what is in the way.
        timeout : seconds.

        Raises
        ------
        NotFound : no dataset of that name was registered.
        PreconditionFailed : kind ``in_use``: something depends on it, or a job that waits or runs needs or makes it;
            the message lists what, with bytes. Nothing was deleted.
        """
        return storage.delete(
            self._connection,
            "dataset",
            dataset_name(dataset),
            dependents=dependents,
            dry_run=dry_run,
            timeout=timeout,
        )

    @overload
    def register(
        self,
        name: str,
        source: str | Path,
        description: str = "",
        *,
        layout: Layout = "table",
        columns: TableColumns | None = None,
        splits: Mapping[str, SplitValue | Sequence[SplitValue]] | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        wait: Literal[True] = True,
        timeout: float = 30.0,
    ) -> Dataset: ...

    @overload
    def register(
        self,
        name: str,
        source: str | Path,
        description: str = "",
        *,
        layout: Layout = "table",
        columns: TableColumns | None = None,
        splits: Mapping[str, SplitValue | Sequence[SplitValue]] | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        wait: Literal[False],
        timeout: float = 30.0,
    ) -> Job[Dataset]: ...

    def register(
        self,
        name: str,
        source: str | Path,
        description: str = "",
        *,
        layout: Layout = "table",
        columns: TableColumns | None = None,
        splits: Mapping[str, SplitValue | Sequence[SplitValue]] | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        wait: bool = True,
        timeout: float = 30.0,
    ) -> Dataset | Job[Dataset]:
        """Register images, texts or pairs of texts under a name.

        A published dataset is registered from the directory it was unpacked into, its files named as by its owners::

            client.datasets.register("waterbirds", "/data/waterbird_complete95_forest2water2", layout="waterbirds")

        By `layout`, files in the directory, and the groups, g = y * n_attributes + a:

        "waterbirds" : metadata.csv and the images beside it; bird x place
        "celeba" : list_attr_celeba.txt, list_eval_partition.txt (or .csv), img_align_celeba/; blond hair x gender
        "civilcomments" : all_data_with_identities.csv (WILDS); toxicity x any of 8 identities; 16 masks, identity x
            toxicity
        "multinli" : metadata_random.csv, multinli_1.0_train.jsonl, multinli_1.0_dev_matched.jsonl,
            ..._mismatched.jsonl; 3 labels x negation; pairs of premise and hypothesis
        "imagefolder" : SPLIT/CLASS/*.jpg (or other images), metadata.csv, .jsonl or .parquet with file_name; folders,
            or a column of the metadata, x its other columns; columns= and splits= as for a table
        "huggingface" : data/SPLIT-*.parquet or SPLIT.parquet, as the Hugging Face Hub holds them; y or label x any
            other column; images are structs of bytes, names those of ClassLabel; columns= as for a table

        Group counts are compared with the published ones; ``.notes`` of the answer names every difference.

        Any other dataset is one file, CSV or TSV (by its name, ``.tsv``; both also gzipped) or Parquet, one row per
        example: ``split`` (one is "train"), ``y``, ``path`` (of an image, relative to the file) or ``text``
        (``text_pair`` beside it for pairs), optionally ``id``; every further column is an attribute. Other names are
        given by `columns`::

            client.datasets.register(
                "comments",
                "/data/comments.parquet",
                columns={"text": "comment", "y": "toxic", "attributes": ["identity"], "masks": ["male", "female"]},
            )

        Names of classes and values are alike in all kinds of files: "false" and "true" for a column of booleans however
        they are written, "1" for 1 and 1.0 where a column holds only whole numbers.

        Parameters
        ----------
        name : small letters, digits, dot, underscore, hyphen.
        source : file or directory *on the server's machine*. A path that is not absolute is taken from this
            process's directory, which makes sense on the same machine only.
        description : where the data come from and under which licence.
        layout : how the files are laid out, as above.
        columns : of a table, the names of those that are called otherwise: any of ``split``, ``y``, ``path``, ``text``
            (one, or two for pairs), ``id``, ``attributes`` (the first makes the groups unless a call names another)
            and ``masks`` (columns of 0 and 1, sets that may overlap and are evaluated beside the groups).
        tags, note : to find it by, and for people; see `describe`.
        splits : of a table whose column ``split`` holds no names: which value, or values, each split is, such as
            ``{"train": 0, "val": 1, "test": 2}`` or ``{"train": ["a", "b"], "test": "c"}``. Every value needs a name.
            A column of exactly 0, 1 and 2 is read as the first example, and ``.notes`` says so.
        wait : False returns the job, which reads every file once, instead of waiting for it.
        timeout : seconds for starting the job; reading the files may take any time.

        Raises
        ------
        InvalidRequest : a file is not as described, a group of a published dataset is empty, or an image cannot be
            read; the message names the row.
        Conflict : a packaged dataset, or other content, has that name.
        PreconditionFailed : files are missing.
        """
        waits = flag("wait", wait)
        spec = build(
            jobs_pb2.RegisterDatasetSpec,
            name=text("name", name, example="'my-dataset'"),
            table=_absolute(source),
            description=text("description", description, most=MOST_DESCRIPTION),
            layout=choice("layout", layout, datasets_pb2.DatasetLayout),
            columns=columns_message(columns, splits),
        )
        card, job_spec = encode.card(None, tags, note), jobs_pb2.JobSpec(register_dataset=spec)
        job = jobs.create(self._connection, job_spec, dataset_result, card=card, timeout=timeout)
        return job.wait() if waits else job


def _absolute(source: str | Path) -> str:
    """A place on this machine, without ``~``. Raises `InvalidRequest`."""
    given = path("source", source)
    try:
        return str(Path(given).expanduser().absolute())
    except (OSError, RuntimeError, ValueError) as error:
        raise invalid(f"source must name a place; got {shown(given)} ({error})", argument="source") from None


def columns_message(
    columns: TableColumns | None, splits: Mapping[str, SplitValue | Sequence[SplitValue]] | None
) -> datasets_pb2.TableColumns:
    """The message that names a table's columns. Raises `InvalidRequest`."""
    legal = list(TableColumns.__annotations__)
    found = dict(items("columns", columns, "{'y': 'label'}"))
    for key in found:
        if key not in legal:
            raise invalid(f"columns has no key {shown(key)}; one of {', '.join(legal)}", argument="columns")
    named = {key: _several(key, value) for key, value in found.items()}
    return build(
        datasets_pb2.TableColumns,
        split=_one("split", named),
        y=_one("y", named),
        path=_one("path", named),
        texts=named.get("text"),
        id=_one("id", named),
        attributes=named.get("attributes"),
        masks=named.get("masks"),
        splits=_splits(splits),
    )


def _splits(splits: Mapping[str, SplitValue | Sequence[SplitValue]] | None) -> dict[str, str]:
    """Names of splits by the value that stands for them. Raises `InvalidRequest`."""
    if splits is None:
        return {}
    example = "from names of splits to values of the column, such as {'train': 0, 'val': 1, 'test': 2}"
    named: dict[str, str] = {}
    for name, values in items("splits", splits, "{'train': 0, 'val': 1, 'test': 2}"):
        for value in _split_values(values):
            if not isinstance(name, str) or not name or not isinstance(value, str | int | float):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may be untyped
                raise invalid(f"splits goes {example}; got {shown(splits)}", argument="splits")
            key = text("a value in splits", str(value))
            if key in named:
                raise invalid(f"splits gives {shown(value)} to {named[key]!r} and to {name!r}", argument="splits")
            named[key] = text("a name in splits", name)
    if not named:
        raise invalid(f"splits is empty; it goes {example}", argument="splits")
    return named


def _split_values(values: object) -> list[Any]:
    """One value of a column, or several; scalars of NumPy as Python's."""
    plain = scalar(values)
    several = [plain] if isinstance(plain, str | int | float) else listed("splits", cast("Any", plain), "[0, 1]")
    return [scalar(one) for one in several]


def _one(key: str, named: Mapping[str, Sequence[str]]) -> str:
    """The one column of a kind, empty when none is named. Raises `InvalidRequest` for several."""
    columns = named.get(key, [""])
    if len(columns) != 1:
        raise invalid(f"columns[{key!r}] takes the name of one column; got {shown(columns)}", argument="columns")
    return columns[0]


def _several(key: str, found: object) -> Sequence[str]:
    """Names of columns, at least one. Raises `InvalidRequest`."""
    argument = f"columns[{key!r}]"
    columns = [text(argument, found)] if isinstance(found, str) else names(argument, cast("Any", found))
    if not columns or "" in columns:
        raise invalid(f"{argument} is empty; name a column, or leave the key out", argument="columns")
    return columns
