"""The sidecar's own log on standard error: text for people, JSON for machines."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from typing import Any

import msgspec

from iatp.values.settings import LogFormat, LogLevel


def set_up_logs(level: LogLevel, form: LogFormat) -> None:
    """Send the loggers of this package to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == LogFormat.JSON else _Text())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("iatp").setLevel(level.value.upper())


def _timestamp(created: float) -> str:
    return (
        time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created)) + f".{int(created % 1 * 1e6):06d}Z"
    )


class _Discreet(logging.Formatter):
    """Formats an exception without its text, which could hold a piece of a payload.

    What the operating system said of a file or a socket is kept.
    """

    def formatException(self, ei: Any) -> str:  # noqa: N802  (logging's own name)
        kind, error, trace = ei
        said = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        return "".join(traceback.format_tb(trace)) + f"{kind.__name__}{said}"


class _Text(_Discreet):
    def format(self, record: logging.LogRecord) -> str:
        line = f"{_timestamp(record.created)} {record.levelname.lower()} {record.getMessage()}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class _Json(_Discreet):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "timestamp": _timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry).decode()
