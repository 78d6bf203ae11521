"""Files that the page gives away: the report of chosen runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from penult.web import report as reports

if TYPE_CHECKING:
    from penult.web.asking import Visit


async def report(visit: Visit) -> Response:
    """The report of the runs that the address names, as a file."""
    runs = visit.request.query_params.getlist("run")
    content = await visit.ask(lambda: reports.read(visit.client, runs))
    made = await visit.ask(lambda: reports.html_of(content))
    headers = {"content-disposition": 'attachment; filename="penult-report.html"'}
    return Response(made, media_type="text/html", headers=headers)
