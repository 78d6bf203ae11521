"""What the server is, and how busy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from penult.web.pages.parts import MOST_LISTED, listed, paragraph
from penult.web.rendering import shown

if TYPE_CHECKING:
    from penult.web.asking import Visit


async def server(visit: Visit) -> Response:
    """What the server is, and how busy."""
    info, running, queued = await visit.ask_all(
        lambda: visit.client.info(),
        lambda: visit.client.jobs.list(states=["running", "cancelling"], limit=MOST_LISTED),
        lambda: visit.client.jobs.list(states=["queued"], limit=MOST_LISTED),
    )
    workers = [
        (f"{place}", one.device or "not started", "answers" if one.is_up else "is being started")
        for place, one in enumerate(info.compute_workers)
    ]
    return visit.page(
        "Server",
        paragraph(f"{len(running)} of {info.max_running_jobs} jobs run, {len(queued)} of {info.max_queued_jobs} wait."),
        listed(
            ("worker", "device", "state"),
            workers,
            caption="processes that answer queries",
            n_text=3,
            none="None are known.",
        ),
        shown(info),
    )
