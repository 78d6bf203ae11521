"""The closed list of what a fleet may be asked to run, by name: the only way from an order to code."""

import importlib
from collections.abc import Callable
from typing import Any

ENTRIES: dict[str, str] = {
    "rank": "penult_server.jobs.model_work:rank",
    "extract_range": "penult_server.jobs.extracting.task:run",
}
"""Name to module and function. `rank` is (JobOrder, reports, a context of device and world) -> JobResult or None; every
other is (order, TaskContext) -> answer, both JSON of a few KB, and whatever it makes lies in the store."""
TABLE = "penult_server.jobs.fleets.entries"
"""Where the list is; tests have a list of their own. No order can name another."""


def find(table: str, name: str) -> Callable[..., Any]:
    """The function of that name. Raises KeyError for a name that is not in the list."""
    module, _, function = importlib.import_module(table).ENTRIES[name].partition(":")
    return getattr(importlib.import_module(module), function)
