"""The part of the client that predicts every example: heads are applied here, to features that come in pieces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penult.calls.arrays.exporting import Reading
from penult.calls.catalog.heads import looked_up
from penult.calls.waiting.queries import ask, shown_name, transferring
from penult.connection.rpc import Connection
from penult.errors import from_kind
from penult.files.rows import AnyArray, rows_at_once
from penult.results.heads import Head
from penult.results.metrics import Metrics
from penult.results.records import Checkpoint, FeatureSet, short
from penult.results.refits import Refit
from penult.results.rows.predictions import Predictions
from penult.results.soups import as_head
from penult.wire import decode, encode_refits
from penult.wire.references import AnyHead, AnyHeadLike, FeatureSetLike, feature_set_name
from penult.wire.transfer import ArrayStream
from penult_proto.errors import ErrorKind
from penult_proto.v1 import features_pb2, refits_pb2


@dataclass(frozen=True, slots=True, eq=False)
class _Applied:
    """A head, and the order of its rows that makes its classes those of a set."""

    head: Head
    order: NDArray[np.int64]

    def logits(self, features: AnyArray) -> NDArray[np.float64]:
        """(n, C) in the order of the set's classes."""
        return self.head.logits(features)[:, self.order]


class Predicting:
    """Predictions of heads."""

    connection: Connection

    def predictions(
        self,
        features: FeatureSetLike,
        head: AnyHeadLike | None = None,
        *,
        class_map: Mapping[str, str] | None = None,
        across_checkpoints: bool = False,
        timeout: float = 600.0,
        progress: bool | None = None,
    ) -> Predictions:
        """What a head predicts for every example of a feature set: class, probabilities, label, attribute, group.

        Features come in pieces of a few megabytes, and none are kept. The head is checked as `evaluate` checks it,
        whose answer is ``.metrics``: the groups' accuracies are those of the table.

        Parameters
        ----------
        features : what is predicted.
        head : as for `evaluate`; by default the head that is stored with the features, or without one their stored
            logits.
        class_map, across_checkpoints : as for `evaluate`.
        timeout : seconds for all of it.
        progress : show how far it is, after a second; None: on a terminal and in a notebook.

        Raises
        ------
        InvalidRequest : kinds ``other_classes``, ``other_checkpoint``, ``wrong_shape``.
        NotFound : there is no such set; it has neither head nor logits; or no features of the checkpoint are stored,
            with which its head is: extract them.
        """
        title = f"predictions for {shown_name(features)}"
        reading = Reading(self.connection, feature_set_name(features), timeout)
        with transferring(title, "receiving", progress) as transfer:
            with reading.stream(["row_id", "y", "a"]) as stream:
                feature_set = stream.feature_set
                row_id, y, a = (_whole(stream, index) for index in range(3))
            reading = reading.of(feature_set.digest)
            head = looked_up(self.connection, head, timeout=reading.left)
            found, described = self._head(feature_set, head, reading)
            metrics = None
            large = reading.of(feature_set.digest, transfer)
            if found is None:
                logits = _stored_logits(large)
            else:
                request = encode_refits.evaluate_request(
                    found if head is None else head,
                    feature_set,
                    class_map=class_map,
                    across_checkpoints=across_checkpoints,
                )
                metrics = self._checked(request, title, reading.left, progress)
                logits = _streamed_logits(large, _Applied(found, _order(found, feature_set, class_map or {})))
        return Predictions(
            feature_set=feature_set.digest,
            head=described,
            labels=feature_set.labels,
            row_id=row_id,
            y=y,
            a=a,
            prediction=logits.argmax(axis=1).astype(np.int64),
            probabilities=_softmax(logits),
            metrics=metrics,
            notes=() if metrics is None else metrics.notes,
        )

    def _rows_right(
        self, features: FeatureSet, heads: Mapping[str, AnyHeadLike], *, timeout: float
    ) -> tuple[NDArray[np.int64], dict[str, NDArray[np.bool_]]]:
        """(N,) groups of the rows of a set, and (N,) whether each head is right about them, in one pass over features.

        The heads have been found to fit: the server has scored them.
        """
        reading = Reading(self.connection, features.digest, timeout)
        with reading.stream(["y", "a"]) as stream:
            y, a = (_whole(stream, index) for index in range(2))
        applied: dict[str, _Applied] = {}
        for name, head in heads.items():
            found, _ = self._head(features, looked_up(self.connection, head, timeout=reading.left), reading)
            if found is not None:
                applied[name] = _Applied(found, _order(found, features, {}))
        right: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in applied}
        with reading.stream(["features"]) as stream:
            (arrival,) = stream.arrivals
            done = 0
            for block in stream.rows(arrival, rows_at_once(tuple(arrival.header.shape), arrival.dtype)):
                for name, own in applied.items():
                    right[name].append(own.logits(block).argmax(axis=1) == y[done : done + len(block)])
                done += len(block)
            stream.end()
        g = y * max(1, len(features.labels.attribute_values)) + a
        return g.astype(np.int64), {name: np.concatenate(parts) for name, parts in right.items()}

    def _stored_head_of(self, features: FeatureSet, *, timeout: float) -> Head:
        """The head that is stored with a set."""
        return _stored_head(Reading(self.connection, features.digest, timeout))

    def _head(self, feature_set: FeatureSet, head: AnyHead | None, reading: Reading) -> tuple[Head | None, str]:
        """The head that is applied, and what it is; None for the stored logits."""
        if isinstance(head, Checkpoint):
            return self._head_of(head, feature_set, reading), f"checkpoint {short(head.digest)}"
        if isinstance(head, Refit):
            return head.head, f"refit {short(head.digest)}"
        if head is not None:
            return as_head(head), "head"
        if feature_set.has_head:
            return _stored_head(reading), "stored head"
        if feature_set.has_logits:
            return None, "stored logits"
        raise from_kind(
            ErrorKind.UNKNOWN_RESULT,
            f"feature set {short(feature_set.digest)} has neither a head nor logits; give a head, such as "
            "client.refit(features, preset='dfr')",
        )

    def _head_of(self, checkpoint: Checkpoint, feature_set: FeatureSet, reading: Reading) -> Head:
        """The head of a checkpoint, which is stored with its features."""
        if feature_set.checkpoint == checkpoint.digest and feature_set.has_head:
            return _stored_head(reading)
        call = self.connection.stubs.features.ListFeatureSets
        answer = self.connection.unary(call, features_pb2.ListFeatureSetsRequest(), timeout=reading.left)
        for one in answer.feature_sets:
            if one.checkpoint == checkpoint.digest and one.has_head:
                return _stored_head(reading.of(one.digest))
        raise from_kind(
            ErrorKind.UNKNOWN_FEATURE_SET,
            f"no features of checkpoint {short(checkpoint.digest)} are stored, and its head is stored with them: "
            "client.extract(checkpoint).wait(), then ask again",
        )

    def _checked(
        self, request: refits_pb2.EvaluateRequest, title: str, timeout: float, progress: bool | None
    ) -> Metrics:
        """The server's metrics. It refuses a head that does not belong to the features."""
        call = self.connection.stubs.refits.Evaluate
        return decode.metrics(ask(self.connection, call, request, timeout=timeout, title=title, progress=progress))


def _whole(stream: ArrayStream, index: int) -> AnyArray:
    arrival = stream.arrivals[index]
    return np.concatenate(list(stream.rows(arrival, rows_at_once(tuple(arrival.header.shape), arrival.dtype))))


def _stored_head(reading: Reading) -> Head:
    with reading.stream(["head.weight", "head.bias"]) as stream:
        weight, bias = (_whole(stream, index) for index in range(2))
        labels, checkpoint = stream.feature_set.labels, stream.feature_set.checkpoint
    classes = None if labels.classes_by_index else labels.classes
    return Head(weight.astype(np.float64), bias.astype(np.float64), classes=classes, checkpoint=checkpoint)


def _order(head: Head, feature_set: FeatureSet, class_map: Mapping[str, str]) -> NDArray[np.int64]:
    """(C,) row of the head for each class of the set; the server has found them to fit."""
    labels = feature_set.labels
    if not class_map and (head.classes is None or labels.classes_by_index):
        return np.arange(len(labels.classes))
    names: Sequence[str] = head.classes or [str(index) for index in range(len(head.bias))]
    place = {class_map.get(name, name): index for index, name in enumerate(names)}
    return np.array([place[name] for name in labels.classes], dtype=np.int64)


def _streamed_logits(reading: Reading, applied: _Applied) -> NDArray[np.float64]:
    with reading.stream(["features"]) as stream:
        (arrival,) = stream.arrivals
        at_once = rows_at_once(tuple(arrival.header.shape), arrival.dtype)
        logits = np.concatenate([applied.logits(block) for block in stream.rows(arrival, at_once)])
        stream.end()
        return logits


def _stored_logits(reading: Reading) -> NDArray[np.float64]:
    with reading.stream(["logits"]) as stream:
        logits = _whole(stream, 0).astype(np.float64)
        stream.end()
        return logits


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, C)"""
    unscaled = np.exp(logits - logits.max(axis=1, keepdims=True))
    return unscaled / unscaled.sum(axis=1, keepdims=True)
