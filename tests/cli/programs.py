"""Runs the real commands, as processes, and peers for them to talk to."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours, less every setting of the sidecar and of colours."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("IATP_") and name not in ("NO_COLOR", "FORCE_COLOR")
    }
    return kept | {"PYTHONPATH": str(ROOT)} | dict(extra or {})


def iatp(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    cwd: Path | None = None,
    timeout: float = 30,
) -> subprocess.CompletedProcess[str]:
    """Run `iatp` and return what it printed and its exit status."""
    done = subprocess.run(
        [sys.executable, "-m", "iatp", *arguments],
        env=environment(env),
        input=stdin,
        cwd=cwd,
        capture_output=True,
        timeout=timeout,
        check=False,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def document(done: subprocess.CompletedProcess[str]) -> Any:
    """The one JSON document on standard output."""
    return json.loads(done.stdout)


def on_terminal(*arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Run `iatp` on a terminal of its own and return what that shows."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "iatp", *arguments],
        env=environment({"TERM": "xterm-256color"} | dict(env or {})),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + 30
    with contextlib.suppress(OSError):  # EIO: the other end has closed
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.2)[0]:
                piece = os.read(ours, 65536)
                if not piece:
                    break
                shown += piece
    os.close(ours)
    process.wait(5)
    return shown.decode()


@contextlib.contextmanager
def peer(answer: Callable[[socket.socket, bytes], None]) -> Iterator[str]:
    """A raw server; `answer` gets each connection with its request head. Gives its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(5)
                    head = b""
                    while b"\r\n\r\n" not in head:
                        piece = connection.recv(65536)
                        if not piece:
                            break
                        head += piece
                    answer(connection, head)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            thread.join(10)


def says(status: str, body: bytes, *headers: str) -> Callable[[socket.socket, bytes], None]:
    """A peer that gives the same answer to everything."""
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""])

    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(head.encode() + body)

    return answer
