"""What the flight recorder costs: sidecars that differ in it alone, side by side in one run.

Every variant has all before it, up to encryption; `power` is beside `chain`. Caller, agent and
sidecar share one core, so requests per second say what a request costs. The variants are
measured in turns, the others stopped and all on the disk before; a ratio is that of neighbours in
time, and the median of the rounds counts.

Microseconds are those that the sidecar's event loop had a processor for, for one request: other
programs change them less than the rate. Instructions are those of the recorder for one request:
two records, of turns of eight requests (callgrind, without the kernel; it knows no instructions
for SHA-256, so of those of `chain` 45,700 are what OpenSSL does in their place).

What a variant leaves out is patched out of its process at start, since nobody may run so.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import signal
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import instructions, load
from benchmarks.counted_recorder import REQUESTS
from benchmarks.test_sidecar import agent, placed
from tests.e2e.load import processor_s, resident_kib
from tests.e2e.sidecars import KEEPS, Sidecar, sidecar

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- costs: written by make costs -->\n", "<!-- end of costs -->"
SITE = """
import os
import time
from iatp.adapters import recorder, seals

without = os.environ.get("COSTS_WITHOUT", "").split(",")
take, make_seal = recorder.Recorder._take, seals.SealWriter.__init__
make_trail = seals.trail.Trail

class NoDigest:
    update = staticmethod(len)
    hexdigest = staticmethod(lambda: "0" * 64)

def seal_nothing(self, *arguments):
    make_seal(self, *arguments)
    self.take_in = len

def take_null(self, fd, *rest):
    take(self, fd, *rest)
    os.dup2(null, fd)

def check_nothing(self):
    self._check_due = time.monotonic() + 1.0

if "chain" in without:
    seals.trail.Trail = lambda _, key: make_trail(NoDigest, key)
if "index" in without:
    seals.SealWriter.__init__ = seal_nothing
    seals.SealWriter.enter = lambda _: 1 << 60
    seals.SealWriter.mark = lambda _: None
if "files" in without:
    null = os.open(os.devnull, os.O_WRONLY)
    recorder.Recorder._take = take_null
    recorder.Recorder._check = check_nothing
    recorder.DropBehind.written = lambda _: None
"""


@dataclass(frozen=True)
class Variant:
    """A sidecar, and the one that it is compared with."""

    name: str
    beside: str
    variables: dict[str, str] = field(default_factory=dict)


def _variants(folder: Path) -> list[Variant]:
    key = folder / "log.key"
    key.write_text(secrets.token_hex(32) + "\n")
    key.chmod(0o600)
    off = {"IATP_LOG_COMPRESS": "off"}
    packed = {"IATP_LOG_COMPRESS_AFTER": "0s", "IATP_LOG_SEGMENT": "8MiB"}
    return [
        Variant("/dev/null", "/dev/null", off | {"COSTS_WITHOUT": "chain,index,files"}),
        Variant("files", "/dev/null", off | {"COSTS_WITHOUT": "chain,index"}),
        Variant("index", "files", off | {"COSTS_WITHOUT": "chain"}),
        Variant("chain", "index", off),
        Variant("zstd", "chain", packed),
        Variant("encryption", "chain", off | {"IATP_LOG_KEY_FILE": str(key)}),
        Variant("zstd and encryption", "zstd", packed | {"IATP_LOG_KEY_FILE": str(key)}),
        Variant("power", "chain", off | {"IATP_DURABILITY": "power"}),
    ]


@dataclass
class Measured:
    """What came of one variant."""

    rates: list[float] = field(default_factory=list)
    times_us: list[float] = field(default_factory=list)
    idle_mb: float = 0.0
    instructions: int | None = None


def main() -> int:
    """Print the table; exit status 2 where a request failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=1, help="of each measurement (1)")
    parser.add_argument("--only", metavar="NAMES", help="with commas; besides /dev/null")
    parser.add_argument("--quick", action="store_true", help="count no instructions")
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="iatp-costs-") as name:
        folder = Path(name)
        (folder / "sitecustomize.py").write_text(SITE)
        variants = _variants(folder)
        if arguments.only:
            names = {"/dev/null", *arguments.only.split(",")}
            variants = [one for one in variants if one.name in names]
        found = {variant.name: Measured() for variant in variants}
        answered = _measure(variants, found, folder, arguments.rounds, arguments.seconds)
        if not arguments.quick:
            _instructions(variants, found, folder)
    said = _table(variants, found)
    print(said)
    if arguments.write:
        page = PAGE.read_text()
        begin, end = page.index(BEGIN) + len(BEGIN), page.index(END)
        PAGE.write_text(f"{page[:begin]}\n{said}\n{page[end:]}")
    return 0 if answered else 2


def _site(folder: Path, variant: Variant) -> dict[str, str]:
    return variant.variables | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}


def _measure(
    variants: list[Variant], found: dict[str, Measured], folder: Path, rounds: int, seconds: int
) -> bool:
    """Whether every answer was a 200."""
    good = True
    with contextlib.ExitStack() as stack:
        direct, behind = stack.enter_context(agent())
        running: dict[str, Sidecar] = {}
        for number, variant in enumerate(variants):
            running[variant.name] = stack.enter_context(
                sidecar(folder / str(number), direct, KEEPS | _site(folder, variant))
            )
            pid = running[variant.name].process.pid
            found[variant.name].idle_mb = resident_kib(pid) * 1024 / 1e6
            os.killpg(pid, signal.SIGSTOP)
        stack.enter_context(placed(0, 0, behind, *(one.process.pid for one in running.values())))
        for number in range(rounds + 1):
            for name, one in running.items():
                # What one of them compresses later, or has written, is not to be another's cost.
                os.sync()
                os.killpg(one.process.pid, signal.SIGCONT)
                before = processor_s(one.process.pid)
                done = load.run(f"http://127.0.0.1:{one.port}/proxy", seconds, folder)
                took = processor_s(one.process.pid) - before
                os.killpg(one.process.pid, signal.SIGSTOP)
                if done.errors:
                    print(f"{name}: {done.errors} answers were no 200", file=sys.stderr)
                    good = False
                # The first round warms up.
                if number:
                    found[name].rates.append(done.per_second)
                    found[name].times_us.append(took / done.requests * 1e6)
            print(f"round {number} of {rounds}", file=sys.stderr, flush=True)
    return good


def _instructions(variants: list[Variant], found: dict[str, Measured], folder: Path) -> None:
    for number, variant in enumerate(variants):
        if "zstd" in variant.name or variant.name == "power":
            # Compressing is for later, and a sync is the kernel's.
            continue
        print(f"counting: {variant.name}", file=sys.stderr, flush=True)
        place = folder / f"counted-{number}"
        try:
            counts = instructions.count(
                ("benchmarks.counted_recorder", str(place)), _site(folder, variant)
            )
        except instructions.UnavailableError as error:
            print(f"instructions: {error}", file=sys.stderr)
            return
        found[variant.name].instructions = counts["turn"] // REQUESTS


def _table(variants: list[Variant], found: dict[str, Measured]) -> str:
    lines = [
        "| Recorder | requests/s | beside | ratio | µs a request | instructions | idle MB |",
        "| --- | --: | --- | --: | --: | --: | --: |",
    ]
    for variant in variants:
        one = found[variant.name]
        other = found.get(variant.beside)
        ratio = ""
        if other is not None and other is not one:
            each = [a / b for a, b in zip(one.rates, other.rates, strict=True)]
            ratio = f"{statistics.median(each):.3f}"
        count = "–" if one.instructions is None else f"{one.instructions:,}"
        lines.append(
            f"| {variant.name} | {statistics.median(one.rates):,.0f} "
            f"| {variant.beside if ratio else '–'} | {ratio or '–'} "
            f"| {statistics.median(one.times_us):.2f} | {count} | {one.idle_mb:.1f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
