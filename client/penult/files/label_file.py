"""Labels that stand in a file of their own."""

from pathlib import Path

from penult.errors import invalid
from penult.files.roles import listed, roles_of
from penult.files.rows import AnyArray
from penult.files.sources import open_source


def label_file(path: Path, role: str) -> AnyArray:
    """The one array of a file, or the one that is known to be the `role`, such as "y".

    Raises `InvalidRequest` where that is not one array of one dimension.
    """
    with open_source(path) as source:
        named, _ = roles_of(source.arrays, None, source.place)
        name = next(iter(source.arrays)) if len(source.arrays) == 1 else named.get(role)
        if name is None or len(source.arrays[name].shape) != 1:
            raise invalid(
                f"{source.place} should hold a label for each row as its one array, or as one that is called {role}; "
                f"it has {listed(source.arrays)}",
                argument=role,
            )
        return source.arrays[name].read()
