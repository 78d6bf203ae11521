"""Figures of the page: whatever the numbers, a drawing that is well-formed and in its frame; no name is markup."""

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penult.display.html import Trusted, card, on_a_page, pairs, table, text
from penult.web.charts.figure import figure
from penult.web.charts.model import Chart, Line, numbers, safe_json
from penult.web.charts.svg import HEIGHT, WIDTH, svg, ticks
from penult.web.pages.groups import row_ids
from penult.web.security import inner_path, is_token, masked

VALUES = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12))
NAMES = st.text(max_size=60)


@st.composite
def charts(draw) -> Chart:
    n = draw(st.integers(0, 6))
    x = tuple(sorted(draw(st.lists(st.floats(0, 1e6), min_size=n, max_size=n))))
    log_y = draw(st.booleans())
    lines = tuple(
        Line(name=draw(NAMES), y=tuple(draw(st.lists(VALUES, min_size=n, max_size=n))))
        for _ in range(draw(st.integers(0, 3)))
    )
    kind = draw(st.sampled_from(["lines", "points"]))
    return Chart(
        title=draw(NAMES), says=draw(NAMES), x_label="x", y_label="y", x=x, lines=lines, kind=kind,
        log_x=draw(st.booleans()), log_y=log_y,
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(charts())
def test_any_figure_is_drawn_well_formed_within_its_frame(chart):
    drawing = ElementTree.fromstring(svg(chart))
    for circle in drawing.iter("{http://www.w3.org/2000/svg}circle"):
        assert -1 <= float(circle.get("cx")) <= WIDTH + 1
        if float(circle.get("r")) < 4:  # no sign of the legend
            assert -1 <= float(circle.get("cy")) <= HEIGHT + 1
    assert "nan" not in svg(chart)
    assert figure(chart) == figure(chart)


@pytest.mark.parametrize(
    ("low", "high", "is_log"), [(0, 1, False), (0.48, 0.97, False), (-3e5, 2, False), (1e-6, 3, True)]
)
def test_ticks_are_round_few_and_inside(low, high, is_log):
    found = ticks(low, high, is_log=is_log)
    assert 2 <= len(found) <= 8
    assert all(low <= one <= high for one in found)
    for one in filter(None, found):
        digits = f"{abs(one):.6e}".split("e")[0].rstrip("0").rstrip(".")
        assert len(digits.replace(".", "")) <= 2


def test_a_name_cannot_end_the_data_of_a_figure():
    said = safe_json({"name": "</script><!--&\u2028"})
    assert not re.search(r"[<>&\u2028]", said)
    chart = Chart(
        title="<b>", says='"</figure>', x_label="x", y_label="y", x=(1.0,), lines=(Line(name="</script>", y=(1.0,)),)
    )
    assert figure(chart).count("</script>") == 0
    assert "<b>" not in figure(chart)


def test_numbers_that_are_none_are_left_out():
    assert numbers([1.0, math.nan, math.inf, 1 / 3]) == (1.0, None, None, 0.333333)


def test_pages_have_classes_and_notebooks_styles_of_the_same_words():
    def words(html: str) -> list[str]:
        return re.sub(r"<[^>]+>", " ", html).split()

    def made() -> str:
        return card("<t>", table(["a", "b"], [("<x>", "1"), ("y", "2")]), pairs({"k": "v"}), notes=["n"])

    notebook = made()
    with on_a_page():
        page = made()
    assert made() == notebook
    assert words(page) == words(notebook)
    assert "style=" in notebook
    assert "style=" not in page
    assert "<x>" not in page
    assert text(Trusted("<i>made here</i>")) == "<i>made here</i>"


def test_a_page_shows_every_row_and_a_notebook_the_first():
    rows = [(f"row{place}", "1") for place in range(100)]
    with on_a_page():
        assert table(["a", "b"], rows).count("<tr>") == 101
    assert "and 80 more" in table(["a", "b"], rows)


def test_form_tokens_are_masked_anew_and_known_again():
    token = "0123456789abcdef" * 2
    first, second = masked(token), masked(token)
    assert first != second
    assert is_token(first, token)
    assert is_token(second, token)
    for other in ("", "zz", token, "00" * 32, first[:-2] + ("00" if first[-2:] != "00" else "11")):
        assert not is_token(other, token)


@pytest.mark.parametrize("path", ["//evil.example", "https://evil", "/\\evil", "", "/a\nb", "javascript:x", "/\\/x"])
def test_a_login_leads_to_this_page_alone(path):
    assert inner_path(path) == "/"
    assert inner_path("/runs/abc?x=1") == "/runs/abc?x=1"


def test_row_ids_are_read_as_people_write_them():
    assert row_ids("0-3, 9 12") == [0, 1, 2, 3, 9, 12]
    assert len(row_ids("0-999999999")) == 48


@pytest.mark.parametrize("is_log", [False, True])
@pytest.mark.parametrize("value", [5e-324, 2.2e-309, 1e-300, 1e20, -1e20, 1.7e308, -1.7e308])
def test_the_ends_of_numbers_are_drawn(value: float, is_log: bool):
    for other in (value, 1.0, 1.7e308):
        lines = (Line(name="a", y=(value, other)),)
        ElementTree.fromstring(
            svg(Chart(title="", says="", x_label="x", y_label="y", x=(0, 1), lines=lines, log_y=is_log))
        )
