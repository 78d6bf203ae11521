"""Feature sets of a server: ``client.features``."""

import builtins
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike, NDArray

from penult import decode
from penult.encode import FeatureSetLike, feature_set_name
from penult.encode_refits import class_names
from penult.records import Features, FeatureSet
from penult.refits import Head
from penult.rpc import Connection
from penult.transfer import receive, upload_arrays, upload_messages
from penult_proto.v1 import features_pb2, groups_pb2

MOST_CHUNK_BYTES = 2**20


class FeatureSets:
    """Stored features. They stay on the server; only `read` brings them here."""

    def __init__(self, connection: Connection, chunk_bytes: int) -> None:
        self._connection = connection
        self._chunk_bytes = min(chunk_bytes or MOST_CHUNK_BYTES, MOST_CHUNK_BYTES)

    def list(self, *, timeout: float = 30.0) -> builtins.list[FeatureSet]:
        """All feature sets."""
        request = features_pb2.ListFeatureSetsRequest()
        answer = self._connection.unary(self._connection.stubs.features.ListFeatureSets, request, timeout=timeout)
        return [decode.feature_set(message) for message in answer.feature_sets]

    def get(self, features: FeatureSetLike, *, timeout: float = 30.0) -> FeatureSet:
        """The feature set of a digest, the start of one (at least 8 characters) or a name. Raises `NotFound`."""
        request = features_pb2.GetFeatureSetRequest(feature_set=feature_set_name(features))
        return decode.feature_set(
            self._connection.unary(self._connection.stubs.features.GetFeatureSet, request, timeout=timeout)
        )

    def delete(self, features: FeatureSetLike, *, timeout: float = 60.0) -> None:
        """Remove a feature set and its arrays. Raises `NotFound`."""
        request = features_pb2.DeleteFeatureSetRequest(feature_set=feature_set_name(features))
        self._connection.unary(self._connection.stubs.features.DeleteFeatureSet, request, timeout=timeout)

    def upload(
        self,
        *,
        features: NDArray[Any],
        y: ArrayLike,
        a: ArrayLike | None = None,
        logits: NDArray[Any] | None = None,
        row_id: ArrayLike | None = None,
        head: Head | None = None,
        name: str = "",
        classes: Sequence[str] | None = None,
        attribute: str | None = None,
        attribute_values: Sequence[str] | None = None,
        masks: Mapping[str, ArrayLike] | None = None,
        timeout: float = 3600.0,
    ) -> FeatureSet:
        """Store your own features; nothing is converted that could lose a bit.

        Returns once everything is on the server's disk and verified. The same arrays again return the same
        digest.

        Parameters
        ----------
        features : (N, D) float32 or float16.
        y : (N,) integers, class indices from 0.
        a : (N,) integers, attribute indices from 0; without it there is one group per class.
        logits : (N, C) float32.
        row_id : (N,) integers from 0, unique; by default 0 .. N-1.
        head : the last layer that belongs to the features; one whose `classes` are named is put in the order of
            `classes`.
        name : to find the set by; moves to the newest upload of that name.
        classes : their names, by which heads and other sets are matched; without them by their index, with a note.
        attribute, attribute_values : names for people; by default the indices.
        masks : (N,) bool of each named set of rows, which may overlap; every evaluation reports them as well.
        timeout : seconds.

        Raises
        ------
        InvalidRequest : kinds ``wrong_shape``, ``wrong_dtype``, ``not_finite``, ``label_out_of_range``.
        """
        arrays = upload_arrays(features=features, y=y, a=a, logits=logits, row_id=row_id, head=head, masks=masks)
        labels = None
        if classes is not None or attribute is not None or attribute_values is not None or masks:
            labels = groups_pb2.Labels(
                classes=classes, attribute=attribute or "", attribute_values=attribute_values, masks=list(masks or ())
            )
        head_classes = () if head is None else class_names(head)
        messages = upload_messages(arrays, name, labels, self._chunk_bytes, head_classes)
        return decode.feature_set(
            self._connection.upload(self._connection.stubs.features.UploadFeatures, messages, timeout=timeout)
        )

    def read(self, features: FeatureSetLike, *, timeout: float = 3600.0) -> Features:
        """Bring the arrays of a feature set here, exactly as they are stored.

        Raises
        ------
        NotFound : there is no such set.
        StoreCorrupt : a stored chunk is missing or altered.
        ServerBug : the stream ended before every array was complete.
        """
        request = features_pb2.ReadFeaturesRequest(feature_set=feature_set_name(features))
        with self._connection.stream(
            self._connection.stubs.features.ReadFeatures, request, timeout=timeout
        ) as messages:
            return receive(messages)
