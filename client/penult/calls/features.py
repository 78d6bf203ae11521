"""Feature sets of a server: ``client.features``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from numpy.typing import ArrayLike

from penult.arguments.coerce import build, optional_text
from penult.calls import storage
from penult.calls.arrays.exporting import FileFormat, export
from penult.calls.catalog.heads import looked_up
from penult.calls.catalog.paging import collect, describe
from penult.calls.waiting.queries import shown_name, transferring, uploading
from penult.connection.rpc import Connection
from penult.files.group_codes import GroupCoding
from penult.files.loading import Wanted
from penult.results.heads import Head, HeadArrays
from penult.results.lists.columns import feature_set_row
from penult.results.lists.listing import Listing
from penult.results.records import Checkpoint, Dataset, Features, FeatureSet
from penult.results.refits import Refit
from penult.results.soups import as_head
from penult.results.space.deletion import Deletion
from penult.wire import decode, encode
from penult.wire.encode import Since
from penult.wire.references import FeatureSetLike, checkpoint_digest, dataset_name, feature_set_name
from penult.wire.transfer import receive, upload_messages
from penult.wire.uploads import prepare
from penult_proto.limits import CHUNK_BYTES
from penult_proto.v1 import catalog_pb2, features_pb2


class FeatureSets:
    """Stored features. They stay on the server; only `read` and `export` bring them here."""

    def __init__(self, connection: Connection, chunk_bytes: int) -> None:
        self._connection = connection
        self._chunk_bytes = min(chunk_bytes or CHUNK_BYTES, CHUNK_BYTES)

    def list(
        self,
        *,
        dataset: Dataset | str | None = None,
        split: str | None = None,
        checkpoint: Checkpoint | str | None = None,
        backbone: str | None = None,
        tag: str | Sequence[str] | None = None,
        name: str | None = None,
        since: Since | None = None,
        user: str | None = None,
        limit: int | None = None,
        timeout: float = 30.0,
    ) -> Listing[FeatureSet]:
        """Feature sets, newest first, as a list that prints as a table; all of them by default.

        Parameters
        ----------
        dataset, split, checkpoint, backbone : what was extracted under what; uploads have none of these.
        tag, name, since, user, limit : as for `Runs.list`.
        timeout : seconds for each page of the list.
        """
        of = {
            "dataset": "" if dataset is None else dataset_name(dataset),
            "split": optional_text("split", split),
            "checkpoint": "" if checkpoint is None else checkpoint_digest(checkpoint),
            "backbone": optional_text("backbone", backbone),
        }
        found = collect(
            lambda options, length: self._connection.unary(
                self._connection.stubs.features.ListFeatureSets,
                build(features_pb2.ListFeatureSetsRequest, **of, options=options, limit=length),
                timeout=timeout,
            ),
            lambda page: page.feature_sets,
            encode.list_options(tag=tag, name=name, since=since, user=user),
            limit,
        )
        return Listing(map(decode.feature_set, found), feature_set_row)

    def get(self, features: FeatureSetLike, *, timeout: float = 30.0) -> FeatureSet:
        """The feature set of a digest, of the start of one (at least 4 characters), of a name, or of "dataset/split".

        A set prints its dataset and split, as in ``footwear/val``; that is taken where one set alone is it, pooled
        features before flat ones of the same checkpoint. Raises `NotFound`, listing what could be meant.
        """
        request = build(features_pb2.GetFeatureSetRequest, feature_set=feature_set_name(features))
        return decode.feature_set(
            self._connection.unary(self._connection.stubs.features.GetFeatureSet, request, timeout=timeout)
        )

    def describe(
        self,
        features: FeatureSetLike,
        *,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        timeout: float = 30.0,
    ) -> FeatureSet:
        """Name a feature set, tag it, write a note; see `Runs.describe`. Returns it, with its notes."""
        digest, notes = describe(
            self._connection,
            catalog_pb2.THING_KIND_FEATURE_SET,
            feature_set_name(features),
            name=name,
            tags=tags,
            note=note,
            timeout=timeout,
        )
        described = self.get(digest, timeout=timeout)
        return replace(described, notes=(*described.notes, *notes))

    def delete(
        self,
        features: FeatureSetLike,
        *,
        dependents: bool = False,
        dry_run: bool = False,
        timeout: float = storage.DELETE_SECONDS,
    ) -> Deletion:
        """Delete a feature set: its arrays and its names. Named by one of several names, only that name goes.

        Answers that were computed from it (refits, spectra) stay stored. Asked for again they are `NotFound`, like
        every question about a set that is not there, until the same arrays are uploaded or extracted again.

        Parameters
        ----------
        dependents : delete what depends on it, too.
        dry_run : only say what would go, what stays, and what is in the way.
        timeout : seconds.

        Raises
        ------
        NotFound : there is no such set.
        PreconditionFailed : kind ``in_use``: something depends on it, or a job that waits or runs needs or makes it;
            the message lists what, with bytes. Nothing was deleted.
        """
        return storage.delete(
            self._connection,
            "features",
            feature_set_name(features),
            dependents=dependents,
            dry_run=dry_run,
            timeout=timeout,
        )

    def upload(
        self,
        features: ArrayLike,
        y: ArrayLike,
        a: ArrayLike | None = None,
        *,
        logits: ArrayLike | None = None,
        row_id: ArrayLike | None = None,
        head: Head | Refit | HeadArrays | str | None = None,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        classes: Sequence[str | int] | None = None,
        attribute: str | None = None,
        attribute_values: Sequence[str | int] | None = None,
        masks: Mapping[str, ArrayLike] | None = None,
        train_counts: Mapping[Any, int] | None = None,
        timeout: float = 3600.0,
        progress: bool | None = None,
    ) -> FeatureSet:
        """Store your own features; nothing is converted that could lose a bit.

            mine = client.features.upload(X, y, a, name="mine")
            client.features.upload(X, y, a, classes=["cat", "dog"], attribute="place", attribute_values=["in", "out"])
            client.features.upload(X, y, logits=X @ weight.T + bias, head=(weight, bias))

        Returns once everything is on the server's disk and verified. The same arrays, names and training counts again
        return the same digest. Arrays may be lists, columns of a table, or tensors (detached, and brought to the host).

        Parameters
        ----------
        features : (N, D) float32 or float16; bfloat16 becomes float32.
        y : (N,) class indices from 0, as integers, whole floats or bools; or the classes' names. Without `classes`,
            names are sorted to become the classes, and ``.notes`` says so.
        a : (N,) the same for the attribute; without it there is one group per class.
        logits : (N, C) float32.
        row_id : (N,) integers from 0, unique; by default 0 .. N-1.
        head : the last layer that belongs to the features, also as (weight, bias), a refit, or the name or digest of
            one; one whose `classes` are named is put in the order of `classes`.
        name : to find the set by. One that another set has moves here, and ``.notes`` says from which.
        tags, note : to find it by, and for people; see `describe`.
        classes : names of the classes, in the order of their indices, by which heads and other sets are matched;
            without them by their index, with a note. Or numbers: the values that `y` takes, in order, such as [-1, 1].
        attribute : name of the attribute, for people.
        attribute_values : the same as `classes`, for `a`.
        masks : (N,) bool of each named set of rows, which may overlap; every evaluation reports them as well.
        train_counts : examples of each group in the training split, which weight the weighted average of every
            evaluation on this set: a dict over all groups that have rows here, such as ``{("cat", "indoors"): 3498}``;
            a group is its (class, value), its name "cat, indoors", (y, a), or its index. Without it there is no
            weighted average, unless ``train=`` names the training set where something is evaluated.
        timeout : seconds.
        progress : show how much is sent, after a second; None: on a terminal and in a notebook.

        Raises
        ------
        InvalidRequest : kinds ``wrong_shape``, ``wrong_dtype``, ``not_finite``, ``label_out_of_range``.
        """
        upload = prepare(
            features,
            y,
            a,
            logits=logits,
            row_id=row_id,
            head=self._head(head),
            classes=classes,
            attribute=attribute,
            attribute_values=attribute_values,
            masks=masks,
            train_counts=train_counts,
        )
        card = encode.card(name, tags, note)
        with uploading(name, progress) as transfer:
            messages = lambda: transfer.counted(upload_messages(upload, card, self._chunk_bytes))  # noqa: E731
            stored = decode.feature_set(self._connection.upload_arrays(messages, timeout=timeout))
        return replace(stored, notes=(*stored.notes, *upload.notes))

    def _head(self, given: Head | Refit | HeadArrays | str | None) -> Head | HeadArrays | None:
        """The head that is stored with features."""
        head = looked_up(self._connection, given)
        return (
            None if head is None else as_head(head, expected="a Head, a Refit, its name or digest, or (weight, bias)")
        )

    def read(self, features: FeatureSetLike, *, timeout: float = 3600.0, progress: bool | None = None) -> Features:
        """Bring the arrays of a feature set here, exactly as they are stored.

        `progress` shows how much has come, after a second; None shows it on a terminal and in a notebook.

        Raises
        ------
        NotFound : there is no such set.
        StoreCorrupt : a stored chunk is missing or altered.
        ServerBug : the stream ended before every array was complete.
        """
        request = build(features_pb2.ReadFeaturesRequest, feature_set=feature_set_name(features))
        call = self._connection.stubs.features.ReadFeatures
        with (
            transferring(f"features of {shown_name(features)}", "receiving", progress) as transfer,
            self._connection.stream(call, request, timeout=timeout) as messages,
        ):
            return receive(transfer.counted(messages))

    def export(
        self,
        features: FeatureSetLike,
        path: str | Path,
        format: FileFormat = "npz",
        *,
        timeout: float = 3600.0,
        progress: bool | None = None,
    ) -> Path:
        """Write the arrays of a feature set to a file on this machine, bit for bit as they are stored.

        The arrays are ``features`` (N, D), ``y``, ``a``, ``row_id`` and, where the set has them, ``logits``,
        ``attributes``, ``masks``, ``head.weight`` and ``head.bias``; beside them stand the names of classes and
        attribute values, dataset, split, checkpoint and digest, as JSON. Rows are written as they come, so that a few
        megabytes of memory are enough for a set of any size. The file is whole or not there. `load` reads all of these
        formats, and gives a set that was uploaded its digest back.

        Parameters
        ----------
        features : the feature set.
        path : file to write, or for "npy" a new directory. An existing file is replaced.
        format : what is written, and by what it is read:

            "npz" : ``np.load(path)["features"]``; the JSON is the member ``penult.json``
            "npy" : one file per array, ``np.load("path/features.npy", mmap_mode="r")``, and ``penult.json``
            "parquet" : one row per example, features as a column of lists; the JSON and the head in the file's
                metadata; needs pyarrow
            "safetensors" : ``safetensors.numpy.load_file(path)``; the JSON under ``penult.json`` in the metadata
        timeout : seconds for all of it.
        progress : show how much has come, after a second; None: on a terminal and in a notebook.

        Returns
        -------
        The absolute path that was written.

        Raises
        ------
        NotFound : there is no such set.
        InvalidRequest : the file cannot be written, or a head is too large for the metadata of a Parquet file.
        StoreCorrupt : a stored chunk is missing or altered.
        """
        name = feature_set_name(features)
        with transferring(f"export of {shown_name(features)}", "receiving", progress) as transfer:
            return export(self._connection, name, path, format, timeout, transfer)

    def load(
        self,
        path: str | Path,
        *,
        columns: Mapping[str, str] | None = None,
        metadata: str | Path | None = None,
        split: str | int | None = None,
        y: ArrayLike | None = None,
        a: ArrayLike | None = None,
        n_attributes: int | None = None,
        group_coding: GroupCoding | None = None,
        dtype: Literal["float32", "float16"] | None = None,
        head: Head | Refit | HeadArrays | str | None = None,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        classes: Sequence[str | int] | None = None,
        attribute: str | None = None,
        attribute_values: Sequence[str | int] | None = None,
        train_counts: Mapping[Any, int] | None = None,
        timeout: float = 3600.0,
        progress: bool | None = None,
    ) -> FeatureSet:
        """Store features that you have in files on this machine, as `upload` does.

        Read are an ``.npz`` (as DFR's embeddings, or ``X, y, g``), ``.npy``, ``.parquet`` (features as a column of
        lists), ``.safetensors``, ``.pt`` (a dict of tensors; needs torch) or ``.h5`` (needs h5py) file, a directory of
        .npy files, one of clip-retrieval (``img_emb`` and ``metadata``), and what `export` wrote::

            client.features.load("waterbirds_resnet50_val_embeddings.npz", a=place, name="val")
            client.features.load("groups.npz", n_attributes=2, group_coding="y*A+a")

        Features and logits are read in pieces while they are sent; labels and ids, a few bytes a row, are held in
        memory. Nothing is ever unpickled. ``.notes`` says which array was taken for what, and how many rows each group
        has.

        Parameters
        ----------
        path : file or directory.
        columns : which array is what, of "features", "y", "a", "g", "row_id", "logits" and "split", such as
            ``{"features": "embeddings", "y": "labels"}``. Those left out are looked for under their usual names.
        metadata : a CSV, TSV or Parquet file (or any of the above) with labels, whose rows are those of `path` in the
            same order; its columns are named as those of `path` are.
        split : only the rows whose "split" is this. Their ids are their positions in the file where it has none.
        y, a : (N,) labels, where the file has none, for all of its rows; as for `upload`.
        n_attributes, group_coding : what group numbers "g" mean where there is no attribute: the number of attribute
            values A, and "y*A+a" (Group DRO, WILDS, penult) or "a*C+y". Neither is guessed: without them the error
            shows the rows of every group by both.
        dtype : round or convert the features to this type; by default float32 and float16 are stored as they are,
            bfloat16 becomes float32 exactly, float64 is refused. Whole numbers are no features.
        head, name, classes, attribute, attribute_values, train_counts : as for `upload`. What `export` wrote brings
            its own.
        timeout : seconds.
        progress : show how much is sent, after a second; None: on a terminal and in a notebook.

        Raises
        ------
        InvalidRequest : the file is not there, is broken, holds pickled objects, or does not say what is needed.
        ImportError : the format needs a package that is not installed.
        """
        wanted = Wanted(
            columns=columns, split=split, y=y, a=a, n_attributes=n_attributes, group_coding=group_coding, dtype=dtype
        )
        # Imported here: few programs load files.
        from penult.calls.arrays.loading import Named, opened_upload, rows_by_group, sent

        named = Named(
            head=self._head(head),
            classes=classes,
            attribute=attribute,
            attribute_values=attribute_values,
            train_counts=train_counts,
        )
        with opened_upload(path, metadata, wanted, named) as (upload, notes, is_own):
            stored = decode.feature_set(
                sent(self._connection, upload, encode.card(name, tags, note), self._chunk_bytes, timeout, progress)
            )
        counted = () if is_own else (rows_by_group(stored),)
        return replace(stored, notes=(*stored.notes, *upload.notes, *notes, *counted))
