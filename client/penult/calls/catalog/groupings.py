"""Groupings of a server: ``client.groupings``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from penult.arguments.coerce import build, optional_text
from penult.calls import storage
from penult.calls.catalog.paging import collect, describe
from penult.calls.waiting.queries import ask, shown_name
from penult.connection.rpc import Connection
from penult.errors import ServerBug
from penult.results.groupings.grouping import Grouping, GroupingArrays
from penult.results.lists.columns import grouping_row
from penult.results.lists.listing import Listing
from penult.results.records import Dataset
from penult.results.space.deletion import Deletion
from penult.wire import encode
from penult.wire.encode import Since
from penult.wire.encode_spectra import SourceLike, feature_source
from penult.wire.groupings import decode as decode_groupings
from penult.wire.groupings.encode import uploaded_groups
from penult.wire.references import FeatureSetLike, GroupingLike, dataset_name, feature_set_name, grouping_name
from penult.wire.transfer import receive_arrays
from penult_proto.v1 import catalog_pb2, features_pb2, groupings_pb2, spectra_pb2


class Groupings:
    """Stored groupings: values of rows that stand in for their attribute, from a column, from you, or discovered."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def from_attribute(
        self,
        features: SourceLike,
        attribute: str | None = None,
        *,
        split: str | None = None,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        timeout: float = 600.0,
        progress: bool | None = None,
    ) -> Grouping:
        """The groups that an attribute column of the data makes: as a grouping, what the stored groups are anyway.

            client.groupings.from_attribute(sets["val"], "ground", name="true groups")

        Parameters
        ----------
        features, split : the rows, as for `Client.spectra`.
        attribute : name of a column of the dataset; by default the one that the set's groups are made of.
        name, tags, note : to find it by, and for people; see `describe`.
        timeout : seconds.
        progress : show how far it is, after a second; None: on a terminal and in a notebook.

        Raises
        ------
        InvalidRequest : there is no such column; kind ``attribute_missing``: there is none at all.
        """
        words = {"attribute": optional_text("attribute", attribute)}
        request = build(groupings_pb2.DiscoverGroupsRequest, method="attribute", words=words)
        return self._discovered(
            request, feature_source(features, split, None), features, (name, tags, note), timeout, progress
        )

    def upload(
        self,
        features: FeatureSetLike,
        values: ArrayLike | Mapping[int, Any],
        *,
        row_id: ArrayLike | None = None,
        names: Sequence[str | int] | None = None,
        attribute: str | None = None,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        timeout: float = 600.0,
        progress: bool | None = None,
    ) -> Grouping:
        """Store groups that you have: a value for every row, or for some.

            client.groupings.upload(sets["val"], clusters)                    # one for each row, in the set's order
            client.groupings.upload(sets["val"], {17: "grass", 4: "gravel"})   # by row id; the others are in no group
            client.groupings.upload(sets["val"], table["place"], row_id=table["id"], attribute="place")

        Groups are made by class and value: ``g = y * V + value``.

        Parameters
        ----------
        features : the set whose rows they are.
        values : (n,) whole numbers from 0, -1 for a row in no group; or names, which are sorted without `names`, and
            ``.notes`` says so. Lists, columns of a table, tensors; or a dict by row id.
        row_id : (n,) ids of the rows; by default all rows of the set, in its order.
        names : names of the values, in the order of their indices.
        attribute : what they are called together, for people.
        name, tags, note : to find it by, and for people; see `describe`.
        timeout : seconds.
        progress : show how far it is, after a second; None: on a terminal and in a notebook.

        Raises
        ------
        InvalidRequest : kinds ``other_rows`` (the set has no such row), ``label_out_of_range``, ``wrong_shape``.
        """
        if row_id is None and not isinstance(values, Mapping):
            row_id = self._row_ids(features, timeout)
        uploaded, notes = uploaded_groups(values, row_id, names)
        request = build(
            groupings_pb2.DiscoverGroupsRequest,
            method="uploaded",
            uploaded=uploaded,
            words={"attribute": optional_text("attribute", attribute)},
        )
        stored = self._discovered(
            request, feature_source(features, None, None), features, (name, tags, note), timeout, progress
        )
        return replace(stored, notes=(*stored.notes, *notes)).bound(self)

    def assign(
        self,
        grouping: GroupingLike,
        features: SourceLike,
        *,
        split: str | None = None,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        timeout: float = 600.0,
        progress: bool | None = None,
    ) -> Grouping:
        """The rows of another set, assigned by the rule that a grouping was stored with; the same as `Grouping.on`.

        Parameters
        ----------
        grouping : a grouping that `has_rule`.
        features, split : the rows, as for `Client.spectra`; of the same classes.
        name, tags, note : of the new grouping; see `describe`.
        timeout : seconds.
        progress : show how far it is, after a second; None: on a terminal and in a notebook.

        Raises
        ------
        InvalidRequest : it has no rule; kind ``other_classes``: the rows are of other classes.
        """
        request = build(
            groupings_pb2.AssignGroupsRequest,
            grouping=grouping_name(grouping),
            source=feature_source(features, split, None),
            card=encode.card(name, tags, note),
        )
        call = self._connection.stubs.groupings.AssignGroups
        title = f"groups of {shown_name(features)}"
        answer = ask(self._connection, call, request, timeout=timeout, title=title, progress=progress)
        return decode_groupings.grouping(answer).bound(self)

    def list(
        self,
        *,
        features: FeatureSetLike | None = None,
        method: str | None = None,
        dataset: Dataset | str | None = None,
        tag: str | Sequence[str] | None = None,
        name: str | None = None,
        since: Since | None = None,
        user: str | None = None,
        limit: int | None = None,
        timeout: float = 30.0,
    ) -> Listing[Grouping]:
        """Groupings, newest first, as a list that prints as a table; all of them by default.

        Parameters
        ----------
        features : of the rows of this set.
        method : found by this method.
        dataset : of its rows; uploads have none.
        tag, name, since, user, limit : as for `Runs.list`.
        timeout : seconds for each page of the list.
        """
        of = {
            "feature_set": "" if features is None else feature_set_name(features),
            "method": optional_text("method", method),
            "dataset": "" if dataset is None else dataset_name(dataset),
        }
        found = collect(
            lambda options, length: self._connection.unary(
                self._connection.stubs.groupings.ListGroupings,
                build(groupings_pb2.ListGroupingsRequest, **of, options=options, limit=length),
                timeout=timeout,
            ),
            lambda page: page.groupings,
            encode.list_options(tag=tag, name=name, since=since, user=user),
            limit,
        )
        return Listing((decode_groupings.grouping(one).bound(self) for one in found), grouping_row)

    def get(self, grouping: GroupingLike, *, timeout: float = 30.0) -> Grouping:
        """The grouping of a digest, of the start of one (at least 4 characters), or of a name. Raises `NotFound`."""
        request = build(groupings_pb2.GetGroupingRequest, grouping=grouping_name(grouping))
        call = self._connection.stubs.groupings.GetGrouping
        return decode_groupings.grouping(self._connection.unary(call, request, timeout=timeout)).bound(self)

    def read(self, grouping: GroupingLike, *, timeout: float = 600.0) -> GroupingArrays:
        """Bring the value of every row here; ``grouping.values`` does so when it is first needed.

        Raises
        ------
        NotFound : there is no such grouping.
        StoreCorrupt : its arrays are missing or altered.
        """
        request = build(groupings_pb2.ReadGroupingRequest, grouping=grouping_name(grouping))
        call = self._connection.stubs.groupings.ReadGrouping
        with self._connection.stream(call, request, timeout=timeout) as messages:
            return decode_groupings.grouping_arrays(messages)

    def describe(
        self,
        grouping: GroupingLike,
        *,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        timeout: float = 30.0,
    ) -> Grouping:
        """Name a grouping, tag it, write a note; see `Runs.describe`. Returns it, with its notes."""
        digest, notes = describe(
            self._connection,
            catalog_pb2.THING_KIND_GROUPING,
            grouping_name(grouping),
            name=name,
            tags=tags,
            note=note,
            timeout=timeout,
        )
        described = self.get(digest, timeout=timeout)
        return replace(described, notes=(*described.notes, *notes)).bound(self)

    def delete(
        self,
        grouping: GroupingLike,
        *,
        dependents: bool = False,
        dry_run: bool = False,
        timeout: float = storage.DELETE_SECONDS,
    ) -> Deletion:
        """Delete a grouping: its values and its names.

        Answers that were computed by it stay stored; asked for again they are `NotFound`, until it is made again. It
        stays itself when the features that it groups are deleted.

        Parameters
        ----------
        dependents : delete the runs whose recipe names it, with everything of theirs, too.
        dry_run : only say what would go.
        timeout : seconds.

        Raises
        ------
        NotFound : there is no such grouping.
        PreconditionFailed : kind ``in_use``: a run depends on it, or a job needs it.
        """
        return storage.delete(
            self._connection,
            "grouping",
            grouping_name(grouping),
            dependents=dependents,
            dry_run=dry_run,
            timeout=timeout,
        )

    def _discovered(
        self,
        request: groupings_pb2.DiscoverGroupsRequest,
        source: spectra_pb2.FeatureSource,
        features: SourceLike,
        said: tuple[str | None, Sequence[str] | None, str | None],
        timeout: float,
        progress: bool | None,
    ) -> Grouping:
        """The grouping that a question finds; `said` are its name, tags and note."""
        request.source.CopyFrom(source)
        request.card.CopyFrom(encode.card(*said))
        call = self._connection.stubs.groupings.DiscoverGroups
        title = f"groups of {shown_name(features)}"
        answer = ask(self._connection, call, request, timeout=timeout, title=title, progress=progress)
        return decode_groupings.grouping(answer).bound(self)

    def _row_ids(self, features: FeatureSetLike, timeout: float) -> NDArray[np.uint64]:
        """(N,) ids of all rows of a set, in its order."""
        request = build(features_pb2.ReadFeaturesRequest, feature_set=feature_set_name(features), arrays=["row_id"])
        call = self._connection.stubs.features.ReadFeatures
        with self._connection.stream(call, request, timeout=timeout) as messages:
            _, arrays = receive_arrays(messages)
        if "row_id" not in arrays:
            raise ServerBug("the server did not send row_id")
        return arrays["row_id"]
