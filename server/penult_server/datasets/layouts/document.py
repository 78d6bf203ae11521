"""The list of layouts in the manuals: ``python -m penult_server.datasets.layouts.document`` writes it.

It stands in the help of the client's `Datasets.register` and in the README of the server; a test checks that it is
current.
"""

import re
from pathlib import Path
from textwrap import TextWrapper

from penult_server.datasets.layouts.published import PublishedLayout
from penult_server.datasets.layouts.reading import LAYOUTS, layout_of

ROOT = Path(__file__).parents[4]
"""Root of the repository."""
HELP = ROOT / "client/penult/calls/datasets.py"
README = ROOT / "server/README.md"
_HELP_LIST = re.compile(r"(?<=the groups, g = y \* n_attributes \+ a:\n\n).*?(?=\n\n)", re.DOTALL)
_TABLE_ROWS = re.compile(r"(?<=<!-- layouts -->\n\n).*?(?=\n\n<!-- end of layouts -->)", re.DOTALL)


def documents() -> dict[Path, str]:
    """Each manual with the list in it."""
    return {
        HELP: _HELP_LIST.sub(lambda _: help_list(), HELP.read_text(encoding="utf-8")),
        README: _TABLE_ROWS.sub(lambda _: table(), README.read_text(encoding="utf-8")),
    }


def help_list() -> str:
    """One entry for each layout, indented as a docstring is."""
    wrapper = TextWrapper(120, initial_indent=" " * 8, subsequent_indent=" " * 12, break_on_hyphens=False)
    found = {name: layout_of(name) for name in LAYOUTS}
    return "\n".join(wrapper.fill(f'"{name}" : {one.files}; {one.groups}') for name, one in found.items())


def table() -> str:
    """The layouts of published datasets with the group counts that are checked, in Markdown."""
    rows = ["| layout | files, in the directory | class x first attribute | train | val | test |", "|---" * 6 + "|"]
    for name in LAYOUTS:
        layout = layout_of(name)
        if not isinstance(layout, PublishedLayout):
            continue
        counts = [layout.published.text(split) for split in ("train", "val", "test")]
        rows.append(f"| `{name}` | {' | '.join([layout.files, layout.groups, *counts])} |")
    return "\n".join(rows)


if __name__ == "__main__":
    for path, content in documents().items():
        path.write_text(content, encoding="utf-8")
