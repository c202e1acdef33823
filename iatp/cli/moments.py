"""Moments on the command line: `2h` ago, or a date and time."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta

_AGO = re.compile(r"(\d{1,9})(s|m|h|d|w)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment_argument(text: str) -> datetime:
    """`90s`, `30m`, `2h`, `7d` or `4w` ago; or an ISO date and time, in UTC where it names no zone.

    Raises:
        argparse.ArgumentTypeError: it is neither.
    """
    try:
        if ago := _AGO.fullmatch(text):
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time such as 2h, 7d, 2025-11-24 or 2025-11-24T16:00:00Z"
        ) from None


def add_span_arguments(parser: argparse.ArgumentParser, *, since: str | None = None) -> None:
    """From when, and until when."""
    parser.add_argument(
        "--since",
        type=moment_argument,
        metavar="TIME",
        default=moment_argument(since) if since else None,
        help="2h, 7d, or a date and time (UTC without a zone)"
        + (f"; default {since}" if since else "; default: the beginning"),
    )
    parser.add_argument(
        "--until", type=moment_argument, metavar="TIME", help="likewise; default: the end"
    )
