"""What an upload is made of, out of the arrays of a file: roles, labels, groups, split, type."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from penult.arguments.coerce import check_choice, scalar
from penult.arguments.coerce_arrays import host_array, whole_numbers
from penult.errors import invalid, shown
from penult.files.group_codes import GroupCoding, decoded
from penult.files.roles import listed, no_array, roles_of
from penult.files.rows import AnyArray, Rows
from penult.files.source import Source
from penult_proto.errors import ErrorKind

FLOATS = ("float32", "float16")
MOST_TRAINING_EXAMPLES = 50_000_000
"""Up to as many, counts of groups are found again from their shares."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wanted:
    """What the caller says about a file."""

    columns: Mapping[str, str] | None
    split: str | int | None
    y: ArrayLike | None
    a: ArrayLike | None
    n_attributes: int | None
    group_coding: GroupCoding | None
    dtype: str | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Loaded:
    """Arrays of an upload, the large ones unread, and what the file says they are called."""

    features: Rows
    logits: Rows | None
    y: AnyArray
    a: AnyArray | None
    row_id: AnyArray | None
    head: tuple[AnyArray, AnyArray] | None = None
    classes: tuple[str, ...] | None = None
    attribute: str | None = None
    attribute_values: tuple[str, ...] | None = None
    masks: Mapping[str, AnyArray] | None = None
    train_counts: Mapping[Any, int] | None = None
    remarks: tuple[str, ...] = ()
    is_own: bool = False
    """Whether penult wrote the file."""


def loaded(source: Source, metadata: Source | None, wanted: Wanted) -> Loaded:
    """Choose and check the arrays. Labels are read, features and logits are not. Raises `InvalidRequest`."""
    if source.description is not None and wanted.columns is None and metadata is None:
        return _own(source, source.description, wanted)
    arrays = dict(source.arrays) | (dict(metadata.arrays) if metadata is not None else {})
    roles, remarks = roles_of(arrays, wanted.columns, source.place)
    if "features" not in roles:
        raise no_array("features", arrays, source.place)
    features = arrays[roles["features"]]
    by_role = {role: arrays[name] for role, name in roles.items()}
    _check_rows(source, roles, by_role, wanted)
    keep, of_split = _kept(by_role, roles, wanted)
    y, a, of_groups = _labels(source, by_role, roles, wanted, arrays)
    row_id = None if "row_id" not in roles else whole_numbers("row_id", _column(by_role["row_id"]), most=2**64 - 1)
    logits = by_role.get("logits")
    return Loaded(
        features=_where(_as_features(features, wanted.dtype, source), keep),
        logits=None if logits is None else _where(_as_logits(logits, wanted.dtype), keep),
        y=y if keep is None else y[keep],
        a=a if a is None or keep is None else a[keep],
        row_id=_kept_ids(row_id, keep),
        remarks=(*source.remarks, *remarks, *of_split, *of_groups),
    )


def _own(source: Source, description: Mapping[str, Any], wanted: Wanted) -> Loaded:
    """A feature set that penult exported: everything is as it was."""
    arrays = source.arrays
    missing = [name for name in ("features", "y", "a", "row_id") if name not in arrays]
    if missing or "classes" not in description:
        raise invalid(
            f"{source.place} was exported by penult, but {', '.join(missing) or 'its description'} is missing: export "
            "it again, or name its arrays with columns=",
            argument="path",
        )
    for argument in ("y", "a", "n_attributes", "group_coding"):
        if getattr(wanted, argument) is not None:
            raise invalid(
                f"{source.place} was exported by penult and says what its labels are; leave {argument}= out, or name "
                "the arrays with columns=",
                argument=argument,
            )
    if wanted.split not in (None, description.get("split")):
        raise invalid(
            f"{source.place} holds the split {description.get('split')!r}; got split={shown(wanted.split)}",
            argument="split",
        )
    has_attribute = bool(description["attribute_values"])
    masks = _column(arrays["masks"]) if "masks" in arrays else None
    _check_rows(source, {name: name for name in arrays}, {n: r for n, r in arrays.items() if "head" not in n}, wanted)
    counts, remarks = _training_counts(description)
    if description.get("feature_kind") != "uploaded":
        remarks = (
            *remarks,
            f"the set {description['digest'][:12]} was extracted from a checkpoint; as an upload it is identified by "
            "its arrays, by another digest, and belongs to no checkpoint",
        )
    return Loaded(
        features=_as_features(arrays["features"], wanted.dtype, source),
        logits=_as_logits(arrays["logits"], wanted.dtype) if "logits" in arrays else None,
        y=arrays["y"].read(),
        a=arrays["a"].read() if has_attribute else None,
        row_id=arrays["row_id"].read(),
        head=(arrays["head.weight"].read(), arrays["head.bias"].read()) if "head.weight" in arrays else None,
        classes=None if description["classes_by_index"] else tuple(description["classes"]),
        attribute=description["attribute"] or None,
        attribute_values=tuple(description["attribute_values"]) if has_attribute else None,
        masks=None if masks is None else dict(zip(description["masks"], masks.T, strict=True)),
        train_counts=counts,
        remarks=remarks,
        is_own=True,
    )


def _training_counts(description: Mapping[str, Any]) -> tuple[Mapping[Any, int] | None, tuple[str, ...]]:
    """Counts with exactly the shares that were stored, and a remark where there are none."""
    shares = np.asarray(description.get("train_shares", ()), np.float64)
    if not shares.size:
        return None, ()
    # Imported here: it brings decimal numbers, too, and few files say how their groups were trained.
    from fractions import Fraction

    fractions = [Fraction(float(share)).limit_denominator(MOST_TRAINING_EXAMPLES) for share in shares]
    total = np.lcm.reduce([one.denominator for one in fractions], dtype=object)
    counts = [int(one * total) for one in fractions]
    if total > 2**31 or sum(counts) != total or [count / int(total) for count in counts] != shares.tolist():
        return None, ("the training shares of its groups are of no whole numbers of examples, and were left out",)
    values = description["attribute_values"]
    groups = (
        [(name, value) for name in description["classes"] for value in values]
        if values
        else [(name,) for name in description["classes"]]
    )
    return dict(zip(groups, counts, strict=True)), ()


def _check_rows(source: Source, roles: Mapping[str, str], by_role: Mapping[str, Rows], wanted: Wanted) -> None:
    """Every array has a row for each row of the features."""
    n_rows = by_role["features"].shape[0] if by_role["features"].shape else 0
    for role, rows in by_role.items():
        if not rows.shape or rows.shape[0] != n_rows:
            raise invalid(
                f"{source.place}: {roles[role]!r} has shape {rows.shape}, the features have {n_rows} rows; they must "
                "be as many, in the same order",
                ErrorKind.WRONG_SHAPE,
                array=role,
            )
    for argument in ("y", "a"):
        given = getattr(wanted, argument)
        if given is not None and host_array(argument, given).shape != (n_rows,):
            raise invalid(
                f"{argument} must have shape ({n_rows},), one entry per row of the file; got "
                f"{host_array(argument, given).shape}",
                ErrorKind.WRONG_SHAPE,
                array=argument,
            )


def _kept(
    by_role: Mapping[str, Rows], roles: Mapping[str, str], wanted: Wanted
) -> tuple[NDArray[np.bool_] | None, tuple[str, ...]]:
    """Which rows are of the split; None for all, with a remark where the file has several."""
    if "split" not in by_role:
        if wanted.split is not None:
            raise invalid(
                "split= chooses rows by an array of splits; name it: columns={'split': ...}", argument="split"
            )
        return None, ()
    written = _column(by_role["split"])
    found, counts = np.unique(written, return_counts=True)
    table = ", ".join(f"{value.item()!r} ({count} rows)" for value, count in zip(found[:20], counts[:20], strict=True))
    if wanted.split is None:
        remark = f"all rows were taken: {roles['split']!r} has {table}; split= takes those of one"
        return None, (remark,) if len(found) > 1 else ()
    keep = written.astype(np.str_) == str(scalar(wanted.split))
    if not keep.any():
        raise invalid(f"no row is of the split {shown(wanted.split)}; {roles['split']!r} has {table}", argument="split")
    return keep, ()


def _labels(
    source: Source,
    by_role: Mapping[str, Rows],
    roles: Mapping[str, str],
    wanted: Wanted,
    arrays: Mapping[str, Rows],
) -> tuple[AnyArray, AnyArray | None, tuple[str, ...]]:
    """Classes and attribute values of all rows, and remarks. A group number is read only where there is no value."""
    y = _given("y", wanted.y, by_role)
    a = _given("a", wanted.a, by_role)
    if "g" in by_role and a is None:
        of_file = None if y is None or y.dtype.kind not in "iu" else y.astype(np.int64)
        by_class, a = decoded(_column(by_role["g"]), wanted.n_attributes, wanted.group_coding, of_file)
        return by_class if y is None else y, a, ()
    for argument in ("n_attributes", "group_coding"):
        if getattr(wanted, argument) is not None:
            raise invalid(
                f"{argument}= says how an array of groups is made, and "
                + ("a is given: leave it out" if a is not None else "there is none: columns={'g': ...}"),
                argument=argument,
            )
    if y is None:
        raise no_array("y", arrays, source.place, "; or give the labels, y=[...], or a table of them, metadata=")
    unread = (f"{roles['g']!r} was not read: y and a say the groups",) if "g" in by_role else ()
    return y, a, unread


def _given(role: str, given: ArrayLike | None, by_role: Mapping[str, Rows]) -> AnyArray | None:
    """Labels that the caller gives, else those of the file, else None."""
    if given is not None:
        return host_array(role, given)
    return _column(by_role[role]) if role in by_role else None


def _column(rows: Rows) -> AnyArray:
    """An array with one entry per row; (N, 1) is (N,)."""
    array = rows.read()
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _kept_ids(row_id: AnyArray | None, keep: NDArray[np.bool_] | None) -> AnyArray | None:
    """Ids of the rows kept: their positions in the file where it has no ids."""
    if keep is None:
        return row_id
    return np.flatnonzero(keep).astype(np.uint64) if row_id is None else row_id[keep]


def _where(rows: Rows, keep: NDArray[np.bool_] | None) -> Rows:
    return rows if keep is None else rows.where(keep)


def _as_features(rows: Rows, dtype: str | None, source: Source) -> Rows:
    """Features in the type they are stored in. Raises `InvalidRequest` for whole numbers, and for rounding unasked."""
    if dtype is not None:
        check_choice("dtype", dtype, FLOATS)
    if len(rows.shape) != 2 or 0 in rows.shape:
        raise invalid(
            f"{source.place}: features must have shape (N, D), neither 0; got {rows.shape}"
            + ("; pool or flatten them first" if len(rows.shape) > 2 else f"; the file has {listed(source.arrays)}"),
            ErrorKind.WRONG_SHAPE,
            array="features",
        )
    if rows.dtype.kind != "f":
        raise invalid(
            f"{source.place}: features must be floats; got {rows.dtype.name}. Are these labels or ids? If they are "
            "features, save them as np.float32",
            ErrorKind.WRONG_DTYPE,
            array="features",
        )
    wanted = dtype or rows.dtype.name
    if wanted not in FLOATS:
        raise invalid(
            f"{source.place}: features are {wanted} and would be rounded, which is not done unasked; give "
            "dtype='float32' to have each number rounded to the nearest",
            ErrorKind.WRONG_DTYPE,
            array="features",
        )
    return rows.as_type(np.dtype(wanted))


def _as_logits(rows: Rows, dtype: str | None) -> Rows:
    """Logits in float32; float64 is rounded where rounding was asked for."""
    if len(rows.shape) != 2 or rows.dtype.kind != "f" or (rows.dtype.itemsize > 4 and dtype is None):
        raise invalid(
            f"logits must be (N, C) float32; got {rows.shape} {rows.dtype.name}"
            + ("; dtype='float32' rounds them" if rows.dtype.kind == "f" else ""),
            ErrorKind.WRONG_DTYPE,
            array="logits",
        )
    return rows.as_type(np.float32)
