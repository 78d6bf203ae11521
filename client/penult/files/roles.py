"""Which array of a file is what: as the caller says, else by its usual names, which a remark repeats."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from penult.arguments.coerce import items, text
from penult.errors import invalid, shown
from penult.files.rows import Rows

KNOWN: Mapping[str, tuple[str, ...]] = {
    "features": (
        "features",
        "embeddings",
        "embedding",
        "X",
        "feats",
        "z",
        "img_emb",
        "text_emb",
        "image_embeddings",
    ),
    "y": ("y", "labels", "label", "target", "targets", "y_array"),
    "a": ("a", "attribute", "attr", "place", "places", "spurious", "confounder"),
    "g": ("g", "group", "groups", "group_array", "group_idx", "group_id"),
    "logits": ("logits",),
    "row_id": ("row_id", "row_ids"),
    "split": ("split", "splits", "split_array"),
}
"""Names by what they mean, compared without regard to case."""
MOST_LISTED = 30


def roles_of(
    arrays: Mapping[str, Rows], columns: Mapping[str, str] | None, place: Path
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The name of the array for each role that the file has, and a remark for each that was guessed.

    Raises `InvalidRequest` for a name that is not there, and where several names would do.
    """
    named = dict(_named(arrays, columns, place))
    remarks: list[str] = []
    for role, known in KNOWN.items():
        if role in named:
            continue
        lower = {one.lower() for one in known}
        found = [name for name in arrays if name.lower() in lower and name not in named.values()]
        if role in found:
            found = [role]
        if len(found) > 1:
            raise invalid(
                f"{place}: several arrays may be {role}: {', '.join(map(repr, found))}; say which: "
                f"columns={{{role!r}: {found[0]!r}}}",
                argument="columns",
            )
        if found:
            named[role] = found[0]
            if found[0] != role:
                remarks.append(f"{found[0]!r} was taken for {role}")
    return named, tuple(remarks)


def no_array(role: str, arrays: Mapping[str, Rows], place: Path, hint: str = "") -> Exception:
    """The error for a role that no array has."""
    return invalid(
        f"{place} has no array that is known to be {role}; it has {listed(arrays)}. Say which it is, such as "
        f"columns={{{role!r}: {next(iter(arrays), 'name')!r}}}{hint}",
        argument="columns",
    )


def listed(arrays: Mapping[str, Rows]) -> str:
    """The arrays of a file, with shape and type."""
    some = [f"{name!r} {rows.shape} {rows.dtype.name}" for name, rows in list(arrays.items())[:MOST_LISTED]]
    return ", ".join(some) + (f" and {len(arrays) - MOST_LISTED} more" if len(arrays) > MOST_LISTED else "")


def _named(arrays: Mapping[str, Rows], columns: Mapping[str, str] | None, place: Path) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for role, name in items("columns", columns, "{'features': 'embeddings', 'y': 'labels'}"):
        if role not in KNOWN:
            raise invalid(f"columns has no key {shown(role)}; one of {', '.join(KNOWN)}", argument="columns")
        plain = text(f"columns[{role!r}]", name)
        if plain not in arrays:
            near = get_close_matches(plain, arrays, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise invalid(f"{place} has no array {shown(plain)}; it has {listed(arrays)}{hint}", argument="columns")
        found.append((role, plain))
    return found
