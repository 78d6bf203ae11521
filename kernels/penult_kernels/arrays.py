"""The few things every kernel does with arrays whose library it does not know."""

from collections.abc import Iterator
from typing import Any, TypeAlias, cast

import numpy as np
from array_api_compat import array_namespace, is_cupy_array, to_device
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = Any
"""An array of any library of the array API standard; which one is known only at run time."""


def to_host(values: Array) -> NDArray[Any]:
    """`values` as a NumPy array, copied from its device when it has one; sequences are welcome too."""
    if is_cupy_array(values):
        return to_device(values, "cpu")
    if hasattr(values, "__dlpack__") and not isinstance(values, np.ndarray):
        return np.from_dlpack(values)
    return np.asarray(cast("ArrayLike", values))


def asarray_like(values: NDArray[Any], reference: Array) -> Array:
    """The host array `values` as an array of the library and on the device of `reference`."""
    return array_namespace(reference).asarray(values, device=reference.device)


def fits_float32(features: Array) -> bool:
    """Whether float32 holds every value of the features, so that products with them may be float32."""
    return features.dtype != array_namespace(features).float64


def blocks(n_rows: int, step: int) -> Iterator[slice]:
    """Slices of at most `step` that cover 0 ... n_rows - 1; none ends beyond, as the standard asks."""
    return (slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step))


def one_hot(labels: NDArray[np.int64], n_labels: int) -> NDArray[np.float64]:
    """(N, n_labels) 1 at the label of each row, zeros for one that is out of range; no identity of all is made.

    >>> one_hot(np.array([1, -1]), 2).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    return (labels[:, None] == np.arange(n_labels)).astype(np.float64)


def host_labels(labels: Array, n_rows: int, n_labels: int, *, name: str, lowest: int = 0) -> NDArray[np.int64]:
    """Check that `labels` is (n_rows,) whole numbers in lowest ... n_labels - 1 and return it on the host.

    Raises
    ------
    ValueError
        Naming the array `name` and what is wrong with it.
    """
    found = to_host(labels)
    if found.shape != (n_rows,):
        raise ValueError(f"{name} must have one entry per row, shape ({n_rows},), got {found.shape}")
    if found.dtype.kind not in "iu":
        raise ValueError(f"{name} must hold whole numbers, got dtype {found.dtype}")
    if found.size and (int(found.min()) < lowest or int(found.max()) >= n_labels):
        raise ValueError(f"{name} must lie in {lowest} ... {n_labels - 1}, got {found.min()} ... {found.max()}")
    return found.astype(np.int64, copy=False)


def host_classes_and_groups(
    y: Array, g: Array, n_rows: int, *, n_classes: int, n_groups: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Check that g = y * n_attributes + a with n_attributes = n_groups // n_classes; both on the host.

    Raises
    ------
    ValueError
        When the counts, the shapes or the labels do not fit each other.
    """
    if n_classes < 1 or n_groups < 1 or n_groups % n_classes:
        raise ValueError(f"n_groups must be a positive multiple of the {n_classes} classes, got {n_groups}")
    n_attributes = n_groups // n_classes
    classes = host_labels(y, n_rows, n_classes, name="y")
    groups = host_labels(g, n_rows, n_groups, name="g")
    if not np.array_equal(groups // n_attributes, classes):
        raise ValueError(f"g must be y * {n_attributes} + a, got groups of other classes than y says")
    return classes, groups
