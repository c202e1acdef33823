"""Check a log: every record against its seal, every seal's signature, each slot's chain.

Exit status 0 where the log is sound and 1 where it is not; then the first record of each chain
that was changed is named. Works beside a running sidecar. --public-key is the key that the log
must be signed with, by default `<log folder>.signing.key.pub`; where there is none, the key that
the log itself names is believed, which finds damage but no forger. --head is what `iatp log head`
printed earlier: nothing that it counts may be missing.
"""

from __future__ import annotations

import argparse

import msgspec

from iatp.adapters.processes import cores
from iatp.adapters.signing import read_public_pem
from iatp.adapters.verification import ChainReport, Problem, Verdict, verify
from iatp.cli.files import read_file
from iatp.cli.folder import Log, add_folder_arguments, open_log
from iatp.cli.progress import ByteProgress, in_units
from iatp.cli.screen import BOLD, DIM, GREEN, RED, YELLOW, Screen, plain, print_json
from iatp.values.errors import StartError

LIMIT_BYTES = 1 << 20
_MOST_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder, and what it is held against."""
    add_folder_arguments(parser)
    add_trust_arguments(parser)
    parser.add_argument(
        "--excerpt",
        action="store_true",
        help="the log is an excerpt (iatp log export --since): its chains may begin and end inside",
    )


def add_trust_arguments(parser: argparse.ArgumentParser) -> None:
    """What a log must be signed with, and what must not be missing."""
    parser.add_argument(
        "--public-key",
        metavar="FILE",
        action="append",
        help="PEM; may be given several times, where the key was changed",
    )
    parser.add_argument(
        "--head",
        metavar="FILE",
        action="append",
        default=[],
        help="a head that was kept elsewhere; may be given several times",
    )


def run(arguments: argparse.Namespace) -> int:
    """Verify, and say what was found."""
    log = open_log(arguments)
    files = arguments.public_key or _default_key(log)
    keys = [public_key(file) for file in files]
    heads = [read_file(file, LIMIT_BYTES) for file in arguments.head]
    verdict = checked(log, keys, heads, excerpt=arguments.excerpt)
    if verdict.key_source == "given":
        verdict = msgspec.structs.replace(verdict, key_source=", ".join(map(str, files)))
    if arguments.json:
        print_json(msgspec.to_builtins(verdict))
    else:
        show_verdict(Screen(), verdict)
    return 0 if verdict.sound else 1


def checked(log: Log, keys: list[bytes], heads: list[bytes], *, excerpt: bool = False) -> Verdict:
    """What verification says, with its progress shown.

    Raises:
        StartError: the folder cannot be read, or a head is none.
    """
    progress = ByteProgress()
    try:
        return verify(
            log.folder,
            public_keys=keys,
            heads=heads,
            log_keys=log.keys,
            excerpt=excerpt,
            processes=cores(),
            progress=progress.show,
        )
    except OSError as error:
        raise StartError(f"the log {log.folder} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise StartError(f"--head: {error}") from None
    finally:
        progress.end()


def _default_key(log: Log) -> list[str]:
    path = log.signing_key_file.with_name(log.signing_key_file.name + ".pub")
    return [str(path)] if path.is_file() else []


def public_key(file: str) -> bytes:
    """The key that a file holds.

    Raises:
        StartError: it holds none.
    """
    key = read_public_pem(read_file(file, LIMIT_BYTES))
    if key is None:
        raise StartError(f"{file} holds no Ed25519 public key in PEM")
    return key


def show_verdict(screen: Screen, verdict: Verdict) -> None:
    """Print it for people."""
    screen.table(
        [
            f"worker {chain.worker}",
            f"{chain.segments:,} segments",
            f"{chain.records:,} records",
            in_units(chain.bytes),
            _of_chain(screen, chain),
        ]
        for chain in verdict.chains
    )
    firsts = [chain.first_bad for chain in verdict.chains]
    others = [problem for problem in verdict.problems if problem not in firsts]
    for problem in others[:_MOST_SHOWN]:
        screen.line(f"  {screen.paint('also', BOLD, RED)}  {plain(_sentence(problem))}")
    if len(others) > _MOST_SHOWN:
        screen.line(f"  and {len(others) - _MOST_SHOWN} more (--json has them all)")
    for note in verdict.notes:
        screen.line(f"  {screen.paint('note', BOLD, YELLOW)}  {plain(note)}")
    if verdict.key is not None:
        source = plain(verdict.key_source)
        screen.line(screen.paint(f"  signed with the key {verdict.key}, from {source}", DIM))
    screen.line(
        screen.paint("the log is sound", BOLD, GREEN)
        if verdict.sound
        else screen.paint("the log is not sound", BOLD, RED)
    )


def _of_chain(screen: Screen, chain: ChainReport) -> str:
    if chain.first_bad is not None:
        return screen.paint(plain(_sentence(chain.first_bad)), BOLD, RED)
    if chain.unsealed_records:
        return f"sound, the last {chain.unsealed_records:,} not sealed yet"
    return "sound"


def _sentence(problem: Problem) -> str:
    where = []
    if problem.segment is not None:
        where.append(f"segment {problem.segment}")
    if problem.seq is not None and problem.last_seq is not None:
        where.append(f"records {problem.seq} to {problem.last_seq}")
    elif problem.seq is not None:
        where.append(f"record {problem.seq}")
    return ", ".join(where) + (": " if where else "") + problem.why
