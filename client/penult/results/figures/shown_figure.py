"""Figures that notebooks show without being told to."""

# matplotlib's stubs leave parts of their signatures open.
# pyright: reportUnknownMemberType=false

from io import BytesIO

from matplotlib.figure import Figure

PIXELS_PER_INCH = 96
"""How large a notebook shows a figure; its pixels are finer."""


class ShownFigure(Figure):
    """A matplotlib figure without pyplot, which a notebook shows as the last expression of a cell."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """The picture, and the size to show it at."""
        file = BytesIO()
        self.savefig(file, format="png")
        width, height = self.get_size_inches()
        return file.getvalue(), {
            "width": round(PIXELS_PER_INCH * float(width)),
            "height": round(PIXELS_PER_INCH * float(height)),
        }
