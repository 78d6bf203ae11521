"""Which grouping an answer is by."""

from dataclasses import dataclass

from penult.display.html import Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedGrouping(Shown):
    """A grouping whose values stood in for the attribute of the rows of an answer."""

    digest: str
    attribute: str
    """What its values are called together, such as "kmeans"."""
    n_left_out: int
    """Rows in none of its groups, which the answer leaves out."""

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        from penult.results.html.groupings import used_grouping_html

        return used_grouping_html(self)
