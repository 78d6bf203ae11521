"""The lines of a process: text for people or JSON for programs, with whom and what they are about."""

import logging
import os
import sys
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias, get_args

from pythonjsonlogger.json import JsonFormatter

from penult_server.logs.repeats import RepeatLimit
from penult_server.logs.secrets import without_secrets

LogFormat: TypeAlias = Literal["text", "json"]
FORMATS: tuple[LogFormat, ...] = get_args(LogFormat)
FORMAT_VARIABLE = "PENULT_LOG_FORMAT"
"""Environment variable by which the front tells its workers the format of its lines."""
SUBJECTS = ("request_id", "job", "user")
"""What a line is about, in the order in which the text format tells it."""
Fields: TypeAlias = Callable[[], Mapping[str, str]]


class Subject(logging.Filter):
    """Adds to every line what it is about, where the line does not say so itself."""

    def __init__(self, fields: Fields) -> None:
        super().__init__()
        self._fields = fields

    def filter(self, record: logging.LogRecord) -> bool:
        """Keeps every line."""
        for name, value in self._fields().items():
            if value and not hasattr(record, name):
                setattr(record, name, value)
        return True


class TextLines(logging.Formatter):
    """One line, with its subjects at the end; without secrets."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's own
        """The line, without a trace."""
        found = [(name, getattr(record, name, "")) for name in SUBJECTS]
        said = " ".join(f"{name}={value}" for name, value in found if value)
        line = super().formatMessage(record)
        return f"{line} ({said})" if said else line

    def format(self, record: logging.LogRecord) -> str:
        """The line with its trace."""
        return without_secrets(super().format(record))


class JsonLines(JsonFormatter):
    """One JSON object in a line: time, level, logger, message, the subjects and named values; without secrets."""

    def __init__(self) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType]  typed in part
            ["levelname", "name", "message"],
            rename_fields={"levelname": "level", "name": "logger"},
            timestamp="time",
        )

    def format(self, record: logging.LogRecord) -> str:
        """The line with its trace."""
        return without_secrets(super().format(record))


def default_format(*, for_people: bool) -> LogFormat:
    """Text where people read along, JSON where programs do."""
    return "text" if for_people or sys.stderr.isatty() else "json"


def write_lines(form: LogFormat, fields: Fields, handler: logging.Handler | None = None) -> None:
    """Write this process's lines in a format, to its standard error by default."""
    handler = logging.StreamHandler() if handler is None else handler
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    handler.addFilter(RepeatLimit())
    handler.addFilter(Subject(fields))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def write_worker_lines(fields: Fields) -> None:
    """Write a worker's lines in the format that the front has."""
    write_lines("json" if os.environ.get(FORMAT_VARIABLE) == "json" else "text", fields)
