"""Serve: stand before one agent, decide on each request, forward it and record it.

No argument is needed beyond the environment. SIGTERM or Ctrl-C lets accepted requests end
(IATP_DRAIN), a second one ends at once; SIGUSR1 begins new files of the log. Exit status 0 when
it was told to end, 1 where it could not start, 78 where the configuration is wrong; each of its
problems is one line.
"""

from __future__ import annotations

import argparse

from iatp.adapters.configuration import add_flags, given_flags, load

AS_JSON = "write the sidecar's own log as JSON: the same as --log-format json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every setting."""
    add_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal ends it."""
    flags = given_flags(arguments)
    if arguments.json:
        flags.setdefault("log_format", "json")
    loaded = load(flags)
    # Not before the settings are known to be right: it brings the event loop and all else.
    from iatp.sidecar.supervisor import run as serve  # noqa: PLC0415

    return serve(loaded)
