"""The set of one split while its ranges are written by tasks."""

import time
from pathlib import Path

from penult_server.jobs.fleets.fleet import Json
from penult_server.stores.manifest import FeatureManifest
from penult_server.stores.places.opening import store_of
from penult_server.stores.places.store import Attempt, Written
from penult_server.stores.writing.commit import commit_features
from penult_server.stores.writing.header import FeatureHeader, keeps_moments
from penult_server.stores.writing.moments import PartialWritten, merged, set_ranges
from penult_server.stores.writing.rows import WrittenRows


class SplitSet:
    """Takes the answers of tasks in any order; with all of them the set is committed."""

    def __init__(self, root: Path, header: FeatureHeader) -> None:
        self._root = root
        self.header = header
        self.ranges = set_ranges(header)
        self._attempt: Attempt | None = None
        self._began = 0.0
        self._rows: list[WrittenRows] = []
        self._partials: list[PartialWritten] = []
        self._rates: list[float] = []

    @property
    def attempt_name(self) -> str:
        """By which tasks write to it."""
        return self._begun.name

    @property
    def is_whole(self) -> bool:
        """Whether all of its ranges are written."""
        return bool(self._rows) and sum(one.n_rows for one in self._rows) == self.header.n_examples

    @property
    def _begun(self) -> Attempt:
        if self._attempt is None:
            raise ValueError("the set has no attempt yet")
        return self._attempt

    def begin(self) -> None:
        """Before its first task."""
        self._attempt = store_of(self._root).attempt("features")
        self._began = time.perf_counter()

    def take(self, answer: Json) -> None:
        """What a task has written."""
        told = answer["rows"]
        rows = WrittenRows(
            first=told["first"],
            n_rows=told["n_rows"],
            files={name: Written(**one) for name, one in told["files"].items()},
            group_counts=tuple(told["group_counts"]),
        )
        self._rows.append(rows)
        self._partials += [PartialWritten.told(one) for one in answer["moments"]]
        self._rates.append(answer["rate"])

    def commit(self) -> FeatureManifest:
        """Merge the moments in the order of ranges, and give the set its place. ValueError: one is missing."""
        rate = self._rates[0]
        if len(self._rates) > 1:
            rate = self.header.n_examples / (time.perf_counter() - self._began)
        moments = merged(self._begun, self.header, self._partials) if keeps_moments(self.header) else None
        return commit_features(
            self._begun,
            self.header,
            self._rows,
            digest=self.header.digest or "",
            moments=moments,
            kinds=[(one.first, one.stop, one.kind) for one in self._partials],
            extract_rate=rate,
        )

    def discard(self) -> None:
        """Remove what is not committed."""
        if self._attempt is not None:
            self._attempt.discard()
