"""One bounded request to a peer that may be hostile.

No proxy, no redirect, no cookie, no credentials from a .netrc; the whole call, name lookup
included, ends at its deadline; no answer longer than the limit is read.
"""

from __future__ import annotations

import argparse
import http.client
import math
import socket
import ssl
import threading
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from iatp.values.address import UNIX, TextError, read_agent_url

LIMIT_BYTES = 1 << 20


class FetchError(Exception):
    """The peer gave no usable answer; the message says why, as the end of a sentence."""


class Fetched(NamedTuple):
    """An answer, whatever its status."""

    status: int
    content_type: str
    body: bytes


class _Question(NamedTuple):
    """What is sent."""

    method: str
    target: str
    body: bytes | None
    headers: dict[str, str]


class UnixUrl(SplitResult):
    """`unix:/path/of/socket:/path`: its netloc is the path of the socket."""

    def geturl(self) -> str:
        """The URL as it is written in settings."""
        return f"{UNIX}{self.netloc}:{self.path}" if self.path else UNIX + self.netloc


class _UnixConnection(http.client.HTTPConnection):
    """A connection to a Unix socket; its path stands in no header."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def url_argument(text: str) -> SplitResult:
    """The parts of an http or https URL with a host and without credentials, for argparse.

    Or of a Unix socket, as it stands in IATP_AGENT_URL.
    """
    if text[: len(UNIX)].lower() == UNIX:
        try:
            address = read_agent_url(text)
        except TextError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error.complaint}") from None
        return UnixUrl(
            scheme="unix", netloc=address.unix_path, path=address.path, query="", fragment=""
        )
    try:
        parts = urlsplit(text)
        port_fits = parts.port != 0
    except ValueError:
        port_fits = False
    if not port_fits or parts.scheme not in ("http", "https") or not parts.hostname:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a URL such as http://host:port, https://host:port or unix:/path"
        )
    if parts.username is not None or parts.password is not None:
        raise argparse.ArgumentTypeError("a user name or password in the URL is not used")
    if any(not "!" <= character <= "~" for character in text):
        raise argparse.ArgumentTypeError(f"{text!r} holds a character that no URL may hold")
    return parts


def seconds_argument(text: str) -> float:
    """A time above 0, for argparse."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 3600")
    return seconds


def fetch(
    url: SplitResult,
    target: str,
    *,
    timeout_s: float,
    headers: dict[str, str] | None = None,
    limit_bytes: int = LIMIT_BYTES,
    ca_file: str | None = None,
    method: str = "GET",
    body: bytes | None = None,
) -> Fetched:
    """Ask the host of `url` for `target` (origin-form).

    Raises:
        FetchError: nothing within `timeout_s`, or nothing that can be used.
    """
    outcome: list[Fetched | FetchError] = []
    connection = _connection(url, timeout_s, ca_file)
    question = _Question(method, target, body, headers or {})

    def work() -> None:
        try:
            outcome.append(_exchange(connection, question, limit_bytes))
        except (OSError, http.client.HTTPException, ValueError) as error:
            outcome.append(FetchError(_sentence(error)))
        except FetchError as error:
            outcome.append(error)

    # A thread, because a timeout of a socket holds for one read and none for a name lookup.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not outcome:
        raise FetchError(f"no complete answer within {timeout_s:g} s")
    if isinstance(outcome[0], FetchError):
        raise outcome[0]
    return outcome[0]


def _connection(
    url: SplitResult, timeout_s: float, ca_file: str | None
) -> http.client.HTTPConnection:
    if url.scheme == "unix":
        return _UnixConnection(url.netloc, timeout_s)
    host = url.hostname or ""
    if url.scheme == "http":
        return http.client.HTTPConnection(host, url.port, timeout=timeout_s)
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # also ssl.SSLError
        raise FetchError(f"{ca_file} holds no usable certificates ({error.strerror})") from None
    return http.client.HTTPSConnection(host, url.port, timeout=timeout_s, context=context)


def _exchange(
    connection: http.client.HTTPConnection, question: _Question, limit_bytes: int
) -> Fetched:
    try:
        connection.request(
            question.method,
            question.target,
            question.body,
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "Connection": "close",
                "User-Agent": "iatp",
                **question.headers,
            },
        )
        answer = connection.getresponse()
        if answer.getheader("Content-Encoding", "identity") != "identity":
            raise FetchError("it answers in a coding that was not asked for")
        body = answer.read(limit_bytes + 1)
        if len(body) > limit_bytes:
            raise FetchError(f"its answer is longer than {limit_bytes >> 10} KiB")
        if answer.length:
            # http.client says so only where the whole body is read without a limit.
            raise FetchError("its answer ended early")
        return Fetched(answer.status, answer.getheader("Content-Type", ""), body)
    finally:
        connection.close()


def _sentence(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or type(error).__name__})"
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    if isinstance(error, http.client.IncompleteRead):
        return "its answer ended early"
    return "its answer is not valid HTTP"
