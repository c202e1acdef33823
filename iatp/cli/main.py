"""The two programs: `iatp-sidecar` serves, `iatp` does that and everything around it.

A command is a module beside this one with `add_arguments(parser)` and
`run(arguments) -> exit status`; it is imported when it is called, so that a small command
starts fast. Exit status: 0, 1 for what failed and for negative verdicts, 2 for wrong usage,
78 for wrong configuration (sysexits.h, EX_CONFIG).
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Sequence

EX_CONFIG = 78

COMMANDS = {
    "run": "serve: the same as iatp-sidecar",
    "check": "validate the configuration and show what is in force, and from where",
    "decide": "say what the gate would do with a body, without a server",
    "policy": "try a policy on recorded traffic before it is switched on",
    "verify": "validate a manifest file and explain its trust score",
    "scan": "fetch the manifest of a running agent and judge it",
    "trace": "show the flight record of one trace ID",
    "log": "check, search and back up the flight record",
    "report": "sum up the flight record of the last days",
    "replay": "send a recorded request again and compare the answers",
    "demo": "show the sidecar at work before a real agent",
    "version": "show the version",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `iatp` and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments:
        _print_overview(sys.stderr)
        return 2
    name, rest = arguments[0], arguments[1:]
    if name in ("-h", "--help", "help"):
        _print_overview(sys.stdout)
        return 0
    if name in ("-V", "--version"):
        name = "version"
    if name not in COMMANDS:
        _print_overview(sys.stderr)
        print(f"\niatp: there is no command {name!r}", file=sys.stderr)
        return 2
    return _run(name, rest, program=f"iatp {name}")


def sidecar_main(argv: Sequence[str] | None = None) -> int:
    """Run `iatp-sidecar` and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments in (["-V"], ["--version"]):
        return _run("version", [], program="iatp-sidecar")
    return _run("run", arguments, program="iatp-sidecar")


def _print_overview(stream: TextIO) -> None:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {meaning}" for name, meaning in COMMANDS.items()]
    print(
        "usage: iatp COMMAND [OPTIONS]\n\n" + "\n".join(lines) + "\n\n"
        "Each command takes --help, and --json for machines.",
        file=stream,
    )


def _run(name: str, arguments: list[str], *, program: str) -> int:
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets its escape instead of a traceback.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    module = importlib.import_module(f"iatp.cli.{name}")
    parser = argparse.ArgumentParser(
        prog=program,
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    as_json = getattr(module, "AS_JSON", "print one JSON document")
    parser.add_argument("--json", action="store_true", help=as_json)
    module.add_arguments(parser)
    try:
        try:
            status: int = module.run(parser.parse_args(arguments))
        except SystemExit as exit_:  # argparse: 0 after --help, 2 after wrong usage
            status = exit_.code if isinstance(exit_.code, int) else 2
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has seen enough; nothing is left to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:
        return _explain(error, as_json="--json" in arguments)
    return status


def _explain(error: Exception, *, as_json: bool) -> int:
    """Print the sentences of a failure that a person can mend; raise any other again."""
    from iatp.values.errors import ConfigurationError, StartError, UsageError  # noqa: PLC0415

    if isinstance(error, ConfigurationError):
        problems, status = error.problems, EX_CONFIG
    elif isinstance(error, StartError):
        problems, status = [str(error)], 1
    elif isinstance(error, UsageError):
        problems, status = [str(error)], 2
    else:
        raise error
    for problem in problems:
        print(f"iatp-sidecar: {problem}", file=sys.stderr)
    if as_json:
        from iatp.cli.screen import print_json  # noqa: PLC0415

        print_json({"problems": problems})
    return status
