"""Work with the flight record as a whole: check it, search it, back it up.

`iatp log TASK --help` says more about each. With no --log-dir, the log folder of the
configuration in force is read. All of it works beside a running sidecar, and on folders that were
copied elsewhere; segments are read plain, compressed and encrypted alike.
"""

from __future__ import annotations

import argparse
import importlib

TASKS = {
    "verify": "check seals, signatures and chains; name the first record that was changed",
    "head": "print the signed head, to be kept elsewhere",
    "query": "print the records that fit, also as they come",
    "export": "write whole segments with their seals to an archive",
    "import": "make a log folder of an archive, and verify it",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The task, and what it takes."""
    tasks = parser.add_subparsers(dest="task", metavar="TASK", required=True)
    for name, meaning in TASKS.items():
        module = importlib.import_module(f"iatp.cli.log_{name}")
        task = tasks.add_parser(
            name,
            help=meaning,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        task.add_argument(
            "--json",
            action="store_true",
            default=argparse.SUPPRESS,
            help=getattr(module, "JSON_HELP", "print one JSON document"),
        )
        module.add_arguments(task)
        task.set_defaults(run=module.run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    status: int = arguments.run(arguments)
    return status
