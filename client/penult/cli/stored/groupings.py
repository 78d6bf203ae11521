"""``penult groupings``: stored groups of rows."""

from penult.cli.printing import details
from penult.cli.stored.collections import Collection
from penult.cli.stored.filters import CARD
from penult.results.groupings.grouping import Grouping


def grouping_text(grouping: Grouping) -> str:
    """A grouping, with the rows of every group."""
    return f"{details(grouping, without=('groups',))}\n\n{grouping.table()}"


GROUPINGS = Collection(
    "groupings",
    "Stored groups of rows",
    one="grouping",
    given_as="a digest, the start of one (at least 4 characters), or a name",
    to_text=grouping_text,
)
GROUPINGS.lists("features", "method", "dataset", *CARD, title="Groupings")
GROUPINGS.shows()
GROUPINGS.describes()
