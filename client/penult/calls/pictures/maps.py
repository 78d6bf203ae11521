"""The part of the client that shows rows and examples: maps, and galleries of neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from penult.arguments import coerce, coerce_arrays
from penult.arguments.coerce import build
from penult.arguments.coerce import record as record_of
from penult.calls.waiting.queries import shown_name, waiting
from penult.connection.rpc import Connection
from penult.errors import invalid, shown
from penult.results.neighbourhood.neighbours import Neighbours
from penult.results.records import Dataset, FeatureSet
from penult.wire import arrays, decode
from penult.wire.decode import record
from penult.wire.encode_spectra import RowsLike, SourceLike, feature_source
from penult.wire.references import ByLike, dataset_name, scored_by
from penult.wire.transfer import receive_arrays
from penult_proto.v1 import datasets_pb2, features_pb2, spectra_pb2

if TYPE_CHECKING:
    from penult.results.pictures.feature_map import FeatureMap
    from penult.results.pictures.gallery import Example, Gallery
    from penult.wire.arrays import AnyArray

COMPONENTS = 50
"""Principal components that UMAP is given."""
MapMethod = Literal["pca", "umap"]


class Pictures:
    """Maps of rows, and examples as a person sees them."""

    connection: Connection

    def map(
        self,
        features: SourceLike,
        *,
        split: str | None = None,
        by: ByLike = "group",
        rows: RowsLike | None = None,
        method: MapMethod = "pca",
        seed: int = 0,
        timeout: float = 600.0,
        progress: bool | None = None,
    ) -> FeatureMap:
        """Two coordinates of every row, to look at.

            client.map(sets["train"]).plot("group")
            client.map(run.checkpoints[-1], split="test").plot("error")
            client.map(sets["val"], by=client.discover(sets["val"], method="errors")).plot()

        Parameters
        ----------
        features, split, rows : as for `spectra`.
        by : a grouping, whose values then stand in for the attribute; rows in none of its groups are left out.
        method : "pca": the first two principal components of all rows, exact, computed by the server. "umap": UMAP
            (McInnes et al. 2018) of the first 50 components with its own defaults, computed here; needs the package
            umap-learn.
        seed : of UMAP.
        timeout : seconds.
        progress : show how far it is, after a second; None: on a terminal and in a notebook.

        Raises
        ------
        InvalidRequest, NotFound, Busy : as for `spectra`.
        ImportError : umap-learn is missing.
        """
        if method not in ("pca", "umap"):
            raise invalid(f"method= is 'pca' or 'umap'; got {shown(method)}", argument="method")
        reduce = None if method == "pca" else _umap(coerce.seed(seed))
        n_features = None if reduce is None else COMPONENTS
        from penult.results.pictures.feature_map import FeatureMap  # not with `import penult`

        header, found = self._coordinates(
            feature_source(features, split, rows, grouping=scored_by(by)), n_features, features, timeout, progress
        )
        coordinates: Any = found["coordinates"]
        if reduce is not None:
            coordinates = np.asarray(reduce(coordinates), dtype=np.float32)
        elif coordinates.shape[1] == 1:
            coordinates = np.column_stack([coordinates, np.zeros_like(coordinates)])
        return FeatureMap(
            feature_set=header.feature_set,
            method=method,
            row_id=found["row_id"],
            coordinates=coordinates,
            y=found["y"],
            a=found["a"],
            right=found["right"],
            classes=tuple(header.labels.classes),
            attribute=header.labels.attribute,
            attribute_values=tuple(header.labels.attribute_values),
            shares=tuple(header.shares),
        )

    def examples(
        self,
        dataset: Dataset | str,
        split: str,
        row_ids: Sequence[int] | NDArray[Any],
        *,
        side: int = 96,
        timeout: float = 120.0,
    ) -> tuple[Example, ...]:
        """Examples of a dataset as a person sees them: small PNG files, or texts, in the order of `row_ids`.

            client.examples("footwear", "train", [0, 1, 2])

        Parameters
        ----------
        dataset, split : where they are.
        row_ids : at most 2,000, as feature sets have them.
        side : pixels of the longer side of an image, 16 to 512; no image is enlarged.
        timeout : seconds.

        Raises
        ------
        InvalidRequest : a row that is not in the split, or more than one answer shows (``too_large``).
        NotFound : the dataset or the split does not exist.
        PreconditionFailed : a file of the dataset is missing, or has changed.
        """
        from penult.results.pictures.gallery import Example  # not with `import penult`

        request = build(
            datasets_pb2.ReadExamplesRequest,
            dataset=dataset_name(dataset),
            split=coerce.text("split", split, example="'train'"),
            row_ids=arrays.encode(coerce_arrays.row_ids(row_ids, "row_ids")),
            side=coerce.whole("side", side),
        )
        call = self.connection.stubs.datasets.ReadExamples
        with self.connection.stream(call, request, timeout=timeout) as messages:
            return tuple(record(Example, message, image=message.image) for message in messages)

    def gallery(
        self,
        neighbours: Neighbours,
        *,
        rows: Sequence[int] | NDArray[Any] | None = None,
        most: int = 6,
        side: int = 96,
        timeout: float = 120.0,
    ) -> Gallery:
        """A page of rows and their nearest neighbours, as a person sees them; neighbours of another class are marked.

            client.gallery(client.neighbours(sets["test"], among=sets["train"], k=6)).save("neighbours.html")

        Parameters
        ----------
        neighbours : of features of a dataset; uploaded features have no examples to show.
        rows : ids of the rows to show, of those that were asked about. None: `most` of them, evenly spaced.
        most : rows shown at most.
        side : pixels of the longer side of an image.
        timeout : seconds.

        Raises
        ------
        InvalidRequest : the features were uploaded; a row that was not asked about.
        NotFound : the features, or their dataset, are not stored any more.
        PreconditionFailed : a file of the dataset is missing, or has changed.
        """
        from penult.results.pictures.gallery import Entry, page  # not with `import penult`

        found = record_of("neighbours", neighbours, Neighbours)
        chosen = _chosen(found, rows, coerce.whole("most", most))
        own, others = (self._set_of(digest, timeout) for digest in (found.feature_set, found.among))
        options: dict[str, Any] = {"side": side, "timeout": timeout}
        there = [found.row_id[place][found.is_there[place]] for place in chosen]
        first = self.examples(own.dataset, own.split, found.query_id[chosen], **options)
        if not any(map(len, there)):
            return page(repr(found), [[Entry(example, "")] for example in first])
        ids = np.unique(np.concatenate(there))
        shown_by_id = {one.row_id: one for one in self.examples(others.dataset, others.split, ids, **options)}
        return page(
            repr(found),
            [
                [
                    Entry(example, f"row {example.row_id}"),
                    *(
                        Entry(near := shown_by_id[int(id)], f"{far:.3g}", near.class_name != example.class_name)
                        for id, far in zip(found.row_id[place], found.distance[place], strict=True)
                        if far == far
                    ),
                ]
                for place, example in zip(chosen, first, strict=True)
            ],
        )

    def _set_of(self, digest: str, timeout: float) -> FeatureSet:
        """A feature set of a dataset. Raises `InvalidRequest` for one that was uploaded."""
        call = self.connection.stubs.features.GetFeatureSet
        asked = features_pb2.GetFeatureSetRequest(feature_set=digest)
        found = decode.feature_set(self.connection.ask(call, asked, timeout=timeout))
        if not found.dataset:
            raise invalid(f"{found!r} was uploaded: the server has its features, not the examples to show")
        return found

    def _coordinates(
        self,
        source: spectra_pb2.FeatureSource,
        top_k: int | None,
        features: SourceLike,
        timeout: float,
        progress: bool | None,
    ) -> tuple[spectra_pb2.CoordinatesHeader, dict[str, AnyArray]]:
        call = self.connection.stubs.spectra.ReadCoordinates
        request = build(spectra_pb2.ReadCoordinatesRequest, source=source, top_k=top_k)
        with (
            waiting(self.connection, f"map of {shown_name(features)}", progress) as metadata,
            self.connection.stream(call, request, timeout=timeout, metadata=metadata) as messages,
        ):
            first, found = receive_arrays(messages)
        return first.header, found


def _chosen(found: Neighbours, rows: Sequence[int] | NDArray[Any] | None, most: int) -> list[int]:
    """Positions of the rows that are shown. Raises `InvalidRequest` for one that was not asked about."""
    if rows is None:
        return np.unique(np.linspace(0, len(found.query_id) - 1, most).astype(int)).tolist()
    places = {int(id): place for place, id in enumerate(found.query_id)}
    asked = [int(id) for id in coerce_arrays.row_ids(rows)][:most]
    if missing := [id for id in asked if id not in places]:
        raise invalid(f"row {missing[0]} is not among the {len(places)} rows that were asked about", argument="rows")
    return [places[id] for id in asked]


def _umap(seed: int) -> Any:
    """UMAP's reduction to two dimensions. Raises ImportError, saying what to install."""
    try:
        umap: Any = import_module("umap")
    except ImportError:
        raise ImportError("a map by UMAP needs umap-learn: pip install umap-learn, or take method='pca'") from None
    return umap.UMAP(random_state=seed).fit_transform
