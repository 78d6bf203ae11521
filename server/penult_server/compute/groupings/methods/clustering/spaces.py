"""Where rows are clustered: features, logits or margins, about their mean; along their principal axes or not."""

import importlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import asarray_like, blocks, to_host
from penult_kernels.groupings.pca import principal_axes, project
from penult_kernels.groupings.points import Points, points_of
from penult_kernels.rows import ArrayRows
from penult_kernels.spectra.spectrum import mean_of
from penult_proto.errors import ErrorKind
from penult_server.compute.groupings.found import Integers, Rows
from penult_server.compute.groupings.methods.clustering.classes import ClassTask
from penult_server.compute.groupings.methods.clustering.joint import finite
from penult_server.compute.groupings.methods.predicted import logits_of
from penult_server.errors import ServiceError

Of = Literal["features", "logits", "margin"]
"""What of the rows: the margin is the logit of the row's class less the largest other one."""
OFS: tuple[Of, ...] = ("features", "logits", "margin")
LARGEST = 1e70
"""Fourth powers of larger numbers are not finite."""
NEIGHBOURS = 10
"""Neighbors that UMAP looks at, as GEORGE sets it, with a least distance of 0."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Space:
    """A linear map of the rows of one class: (z - mean) @ basis, or z - mean."""

    of: Of
    mean: NDArray[np.float64]
    basis: NDArray[np.float64] | None

    def points(self, rows: Rows, index: Integers) -> Points:
        """The rows at `index`. Raises ServiceError: WRONG_SHAPE, NOT_FINITE, INVALID_ARGUMENT without logits."""
        given = values(rows, index, self.of)
        if given.shape[1] != self.mean.size:
            raise ServiceError(
                ErrorKind.WRONG_SHAPE,
                f"the groups were found among rows of {self.mean.size} {self.of}, these have {given.shape[1]}: assign "
                "rows of the same checkpoint",
            )
        mean = asarray_like(self.mean, given.like)
        if self.basis is None:
            return points_of(given, mean)
        return Points(rows=project(given, mean, asarray_like(self.basis, given.like)))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """For a rule."""
        found: dict[str, NDArray[Any]] = {"of": np.int64(OFS.index(self.of)).reshape(1), "origin": self.mean}
        return found if self.basis is None else found | {"basis": self.basis}

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> "Space":
        """The inverse of `arrays`."""
        return Space(of=OFS[int(arrays["of"][0])], mean=arrays["origin"], basis=arrays.get("basis"))


def values(rows: Rows, index: Integers, of: Of) -> ArrayRows:
    """(m, D) on the device, of the rows at `index`, in the stored dtype; features are not gathered."""
    if of == "features":
        is_all = index.size == int(rows.features.shape[0]) and bool((np.diff(index) == 1).all())
        found = ArrayRows(rows.features, None if is_all else index)
    else:
        logits = finite(logits_of(rows)[index])
        found = ArrayRows(
            asarray_like(logits if of == "logits" else margins(logits, rows.y[index])[:, None], rows.features)
        )
    n_rows, width = found.shape
    if not all(_is_usable(found.block(tile)) for tile in blocks(n_rows, budget.DEFAULT.rows_of_pass(width))):
        raise ServiceError(
            ErrorKind.NOT_FINITE,
            f"the {of} of some rows hold NaN, infinity, or numbers of {LARGEST:.0e} and more, too large to be "
            "multiplied: leave these rows out, or scale all",
        )
    return found


def _is_usable(block: Any) -> bool:
    xp = array_namespace(block)
    usable = xp.isfinite(block)
    if block.dtype == xp.float64:
        usable = usable & (xp.abs(block) < LARGEST)
    return bool(xp.all(usable))


def margins(logits: NDArray[np.float64], y: Integers) -> NDArray[np.float64]:
    """(n,) the logit of a row's class less the largest other one."""
    own = np.arange(y.size)
    others = logits.copy()
    others[own, y] = -np.inf
    return logits[own, y] - others.max(axis=1)


def whole_space(task: ClassTask, of: Of) -> Space:
    """The values themselves, about their mean."""
    return Space(of=of, mean=to_host(mean_of(values(task.rows, task.index, of))), basis=None)


def reduced_space(task: ClassTask, p: int) -> Space:
    """The p principal axes of the features of a class. Raises ServiceError (EMPTY_GROUP) where all rows are equal."""
    axes = principal_axes(values(task.rows, task.index, "features"), p)
    if not int(axes.basis.shape[1]):
        raise task.refused(f"its {task.n} rows have equal features, so that nothing tells them apart")
    return Space(of="features", mean=to_host(axes.mean), basis=to_host(axes.basis))


class UmapSpace:
    """UMAP of the features of a class (McInnes et al. 2018), where umap-learn is installed.

    Its maps are not linear and not stored: groups found in them have no rule for other sets.
    """

    def __init__(self, task: ClassTask, p: int) -> None:
        umap = _umap()
        seed = int(task.rng.integers(2**31))
        # One thread, as a seed demands of it; it says so in a warning.
        self._map = umap.UMAP(n_components=p, n_neighbors=NEIGHBOURS, min_dist=0.0, random_state=seed, n_jobs=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._fitted = self._map.fit_transform(self._features(task.rows, task.index))
        self._of = task.rows

    def points(self, rows: Rows, index: Integers) -> Points:
        """The rows at `index`; those that the map was fitted to are where it put them."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = self._fitted if rows is self._of else self._map.transform(self._features(rows, index))
        about = np.asarray(found, np.float64)
        return Points(rows=asarray_like(about, rows.features), mean=asarray_like(self._center(), rows.features))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """None: there is no rule."""
        return {}

    def _center(self) -> NDArray[np.float64]:
        return np.asarray(self._fitted, np.float64).mean(axis=0)

    def _features(self, rows: Rows, index: Integers) -> NDArray[np.float32]:
        given = values(rows, index, "features")
        return to_host(given.block(slice(0, given.shape[0]))).astype(np.float32)


def _umap() -> Any:
    try:
        return importlib.import_module("umap")
    except ImportError:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            "reduction='umap' needs the package umap-learn on the server, which is not installed there: use "
            "reduction='pca', or install it (pip install umap-learn)",
            field="words",
        ) from None
