"""Compared networks as tables: how alike each block was trained, and what is gained by making one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penult.display.html import Row, card, table

if TYPE_CHECKING:
    from penult.results.merging.report import MergeReport


def merge_report_html(report: MergeReport) -> str:
    """Blocks, then groups."""
    parts = [
        table(
            ("block", "mean cosine", "moved, % of the start", "variance factor"),
            [
                Row(
                    (
                        one.block or "all blocks",
                        f"{one.mean_cosine:.3f}",
                        f"{100 * one.moved.min():.3g} .. {100 * one.moved.max():.3g}",
                        f"{one.variance_factor:.4g}",
                    ),
                    not one.block,
                )
                for one in (report.total, *report.blocks)
            ],
            caption=f"{len(report.networks.parents)} networks: cosines of their task vectors",
        )
    ]
    if report.gains:
        rows = [
            Row((one.of, one.name, *map(str, (one.count, one.gained, one.lost)), f"{one.p_value:.2g}"), one.group < 0)
            for one in report.gains
        ]
        caption = "rows that all get wrong and it gets right (gained), and the other way round (lost)"
        parts.append(table(("of", "group", "rows", "gained", "lost", "p"), rows, caption=caption, n_text=2))
    return card("MergeReport", *parts, notes=report.notes)
