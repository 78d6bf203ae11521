"""The job of an extraction: orders ranges from its fleet, and commits every set whose ranges are all written."""

from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format

from penult_proto.errors import ErrorKind
from penult_proto.v1 import features_pb2
from penult_proto.v1 import jobs_pb2 as pb
from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.datasets.stored import check_files
from penult_server.errors import ServiceError
from penult_server.jobs.channel import Reports
from penult_server.jobs.extracting.extraction import Extraction, open_extraction
from penult_server.jobs.extracting.pace import Pace
from penult_server.jobs.extracting.split import SplitSet
from penult_server.jobs.fleets.fleet import Fleet, Json
from penult_server.messages import feature_set_to_proto
from penult_server.stores.manifest import damaged_files
from penult_server.stores.places.opening import store_of
from penult_server.stores.reading import StoredFeatures


def extract_job(order: JobOrder, channel: Reports, fleet: Fleet) -> pb.ExtractResult:
    """Features of every split that was asked for: those that are stored already, and those made now."""
    extraction = open_extraction(order)
    splits = list(extraction.spec.splits)
    sets = {split: stored for split in splits if (stored := _stored(extraction, split)) is not None}
    reused, missing = list(sets), [split for split in splits if split not in sets]
    if missing:
        check_files(extraction.dataset, missing)
        work = _Work(extraction, missing, channel, fleet)
        try:
            for split, made in work.done():
                sets[split] = made
                channel.saved(len(sets))
        finally:
            work.close()
    return pb.ExtractResult(feature_sets=[sets[split] for split in splits], reused=reused)


def _stored(extraction: Extraction, split: str) -> features_pb2.FeatureSet | None:
    """The feature set when it is in the store, whole: asking again mends a damaged one."""
    # One that another machine has committed, or whose job died just then.
    store_of(extraction.root).find("features", extraction.identity(split))
    try:
        stored = StoredFeatures(extraction.root, extraction.identity(split))
        return None if damaged_files(stored.directory, stored.manifest) else feature_set_to_proto(stored.manifest)
    except ServiceError as error:
        if error.kind in (ErrorKind.UNKNOWN_FEATURE_SET, ErrorKind.STORE_CORRUPT):
            return None
        raise


class _Work:
    """The splits of one job that are not stored yet."""

    def __init__(self, extraction: Extraction, missing: list[str], channel: Reports, fleet: Fleet) -> None:
        self._extraction = extraction
        self._channel = channel
        self._fleet = fleet
        self._job = json_format.MessageToJson(extraction.order, indent=None)
        self._wanted = extraction.order.extract_workers or fleet.usual_at_once()
        n_features = self._n_features()
        self._sets = [SplitSet(extraction.root, extraction.header(split, n_features)) for split in missing]
        self._at_once = min(self._wanted, sum(len(one.ranges) for one in self._sets))
        self._total = sum(extraction.n_rows(split) for split in missing)
        self._tasks: list[tuple[SplitSet, int, int]] = []
        """The set of every order, and its ranges from and to."""
        self._n_done = 0
        """Rows of the tasks that have ended."""
        self._is_here = fleet.does_one_here and self._at_once == 1
        self._pace = Pace(self._at_once, is_here=self._is_here)

    def done(self) -> Iterator[tuple[str, features_pb2.FeatureSet]]:
        """Every split and its set, as soon as it is stored."""
        found = self._fleet.tasks("extract_range", self._orders(), at_once=self._at_once, told=self._told)
        for index, outcome in found:
            answer = outcome.value()
            one, first, stop = self._tasks[index]
            one.take(answer)
            self._pace.took(stop - first, answer["seconds"])
            self._n_done += answer["rows"]["n_rows"]
            if not self._is_here:  # a task that runs elsewhere says nothing before its end
                self._channel.progress(one.header.split, self._n_done, self._total, "examples")
            if one.is_whole:
                yield one.header.split, feature_set_to_proto(one.commit())

    def close(self) -> None:
        """Remove what is not committed."""
        for one in self._sets:
            one.discard()

    def _n_features(self) -> int:
        """The features that the head reads, or the last hidden state, whose width the model alone can say."""
        if self._extraction.kind == "pooled":
            return self._extraction.manifest.n_features
        ((_, outcome),) = self._fleet.tasks("extract_range", [{"job": self._job}], at_once=self._wanted)
        return int(outcome.value()["n_features"])

    def _orders(self) -> Iterator[Json]:
        """Consecutive ranges of every split, as many as make a task worth its start."""
        for one in self._sets:
            one.begin()
            first = 0
            while first < len(one.ranges):
                stop = first + self._pace.ranges_of_a_task(len(one.ranges) - first, one.ranges[0].n_chunks)
                self._tasks.append((one, first, stop))
                order: dict[str, Any] = {"job": self._job, "split": one.header.split, "attempt": one.attempt_name}
                yield order | {"n_features": one.header.n_features, "first": first, "stop": stop}
                first = stop

    def _told(self, index: int, done: float) -> None:
        """How far a task is that runs here."""
        split = self._tasks[index][0].header.split
        self._channel.progress(split, self._n_done + done, self._total, "examples")
