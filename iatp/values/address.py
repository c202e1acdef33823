"""Addresses in settings: the agent's URL and what listeners bind to, Unix sockets included.

The URL is taken apart here and not by urllib, which drops tabs and line ends silently:
what is odd is refused, with a complaint that says what was meant. Nothing is resolved.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import urllib.parse
from collections.abc import Collection

import msgspec

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]*))?")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
# RFC 1123 names, with the underscore that container networks allow.
_NAME = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}\.?")
# RFC 3986 path-abempty.
_PATH = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*)?")

UNIX = "unix:"
"""What stands before the path of a Unix socket, as nginx writes it."""
MOST_SOCKET_PATH_BYTES = 107
"""sun_path of unix(7) less its closing zero byte."""

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class TextError(ValueError):
    """A text that a setting cannot take.

    `complaint` is half a sentence; `meant` the text that was probably meant, or empty.
    """

    def __init__(self, complaint: str, meant: str = "") -> None:
        super().__init__(complaint)
        self.complaint = complaint
        self.meant = meant


class AgentAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where the agent listens."""

    scheme: str = "http"
    host: str
    """Lower case, an IPv6 address without its brackets; `localhost` of a Unix socket."""
    port: int
    path: str = ""
    """As it was written: empty, or beginning with a slash."""
    unix_path: str = ""
    """Of the Unix socket on which the agent listens; empty: it listens on host and port."""

    @property
    def authority(self) -> str:
        """Value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 80 else f"{host}:{self.port}"

    @property
    def target(self) -> str:
        """Request target of the agent URL itself."""
        return self.path or "/"

    @property
    def base(self) -> str:
        """What `/{path}` is appended to."""
        return self.path.rstrip("/")

    @property
    def url(self) -> str:
        """The URL, without credentials, which it cannot have."""
        if self.unix_path:
            return f"{UNIX}{self.unix_path}:{self.path}" if self.path else UNIX + self.unix_path
        return f"{self.scheme}://{self.authority}{self.path}"

    def __str__(self) -> str:
        return self.url


def read_agent_url(text: str) -> AgentAddress:
    """The address in an agent URL. Raises: TextError."""
    if text[: len(UNIX)].lower() == UNIX:
        return _read_unix_url(text[len(UNIX) :])
    found = _SCHEME.fullmatch(text)
    if found is None:
        raise TextError("the scheme is missing", _with_scheme(text))
    scheme, rest = found.group(1).lower(), found.group(2)
    if scheme == "https":
        raise TextError("https to the agent is not served yet")
    if scheme == "http+unix" or rest[: len(UNIX) + 1].lower() == f"{UNIX}/":
        path = urllib.parse.unquote(rest)
        raise TextError(
            "a Unix socket is written without http",
            _if_valid(path if path[: len(UNIX)].lower() == UNIX else UNIX + path),
        )
    if scheme != "http":
        raise TextError("the scheme is not http")
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    path = rest[len(authority) :]
    if "@" in authority:
        raise TextError("it holds credentials, which are not sent to the agent")
    if "?" in path or "#" in path:
        plain = re.split(r"[?#]", text, maxsplit=1)[0]
        raise TextError("it has a query or a fragment", _if_valid(plain))
    host, port = _read_authority(authority)
    _check_path(path, f"http://{authority}")
    return AgentAddress(host=host, port=port, path=path)


def show_agent_url(text: str) -> str:
    """The text without what may be a secret: credentials and the query."""
    before, at, after = text.rpartition("@")
    if at:
        scheme, mark, _ = before.partition("://")
        text = f"{scheme + mark if mark else ''}***@{after}"
    before, mark, _ = text.partition("?")
    return f"{before}?***" if mark else text


def read_socket_path(path: str) -> str:
    """The path of a Unix socket, as it stands behind `unix:`. Raises: TextError."""
    if path.startswith("//"):
        raise TextError("its path begins with more than one slash", _socket_at(path))
    if not path.startswith("/"):
        raise TextError("the path of its socket is not absolute")
    if path.endswith("/"):
        raise TextError("its path is that of a folder")
    if ":" in path:
        raise TextError("the path of its socket has a colon in it")
    if not path.isprintable():
        raise TextError("its path holds a character that cannot be printed")
    if len(path.encode()) > MOST_SOCKET_PATH_BYTES:
        raise TextError(f"the path of its socket is longer than {MOST_SOCKET_PATH_BYTES} bytes")
    return path


def _socket_at(path: str) -> str:
    """`unix:` and the path, with one slash before it, if it is a socket's; else empty."""
    path = f"/{path.lstrip('/')}"
    try:
        return UNIX + read_socket_path(path)
    except TextError:
        return ""


def socket_path(host: str) -> str:
    """The path of the Unix socket that a host is; empty where it is none."""
    return host.removeprefix(UNIX) if host.startswith(UNIX) else ""


def read_data_host(text: str) -> str:
    """The host that the data listener binds to, or `unix:` and the path. Raises: TextError."""
    if text[: len(UNIX)].lower() == UNIX:
        return UNIX + read_socket_path(text[len(UNIX) :])
    if text.startswith("/"):
        raise TextError("it is the path of a file", _socket_at(text))
    return read_bind_host(text)


def read_bind_host(text: str) -> str:
    """The host that a listener binds to. Raises: TextError."""
    if text[: len(UNIX)].lower() == UNIX:
        raise TextError("this listener is not served on a Unix socket")
    if text == "*":
        raise TextError("it is not an address", "0.0.0.0")
    if text.startswith("[") and text.endswith("]") and _address(text[1:-1]) is not None:
        raise TextError("an address stands without brackets here", text[1:-1])
    if "://" in text:
        raise TextError("it is a URL and not a host")
    if ":" in text:
        try:
            return str(ipaddress.IPv6Address(text))
        except ValueError:
            host, _, port = text.rpartition(":")
            if port.isdigit() and ":" not in host:
                raise TextError("the port is a setting of its own", host) from None
            raise TextError("it is not an IPv6 address") from None
    if _NAME.fullmatch(text) is None or len(text) > 253 or _looks_numeric(text):
        raise TextError("it is neither an IP address nor a host name")
    return text.lower()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on that host, or that agent."""
    if _plain_name(host) == "localhost" or host.lower().rstrip(".").endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def points_at(agent_host: str, bind_host: str, own_hosts: Collection[str]) -> bool:
    """Whether a connection to `agent_host` may reach a listener bound to `bind_host`.

    `own_hosts` holds this machine's names and addresses, as far as they are known.
    """
    agent, bound = _address(agent_host), _address(bind_host)
    name = _plain_name(agent_host)
    # Connecting to 0.0.0.0 or :: reaches the loopback addresses.
    reaches_loopback = is_loopback(agent_host) or (agent is not None and agent.is_unspecified)
    own = {_plain_name(host) for host in own_hosts}
    is_own = name in own or (agent is not None and any(agent == _address(host) for host in own))
    if bound is not None and bound.is_unspecified:
        return reaches_loopback or is_own
    if name == _plain_name(bind_host) or (agent is not None and agent == bound):
        return True
    if is_loopback(bind_host):
        # 127.0.0.2 is another listener than 127.0.0.1, but a name may mean either.
        vague = agent is None or agent.is_unspecified or bound is None
        return reaches_loopback and vague
    return is_own and agent is None


def _read_unix_url(rest: str) -> AgentAddress:
    """The address behind `unix:`; what the agent URL holds of a path follows a colon."""
    if "?" in rest or "#" in rest:
        plain = re.split(r"[?#]", rest, maxsplit=1)[0]
        raise TextError("it has a query or a fragment", _if_valid(UNIX + plain))
    unix_path, colon, path = rest.partition(":")
    read_socket_path(unix_path)
    if colon and not path.startswith("/"):
        raise TextError(
            "what follows the second colon is not a path",
            _if_valid(f"{UNIX}{unix_path}:/{path}" if path else UNIX + unix_path),
        )
    _check_path(path, f"{UNIX}{unix_path}:")
    return AgentAddress(scheme="unix", host="localhost", port=80, path=path, unix_path=unix_path)


def _check_path(path: str, before: str) -> None:
    if _PATH.fullmatch(path) is None:
        quoted = urllib.parse.quote(path, safe="/%", errors="replace")
        raise TextError(
            "its path has characters that a URL can't have",
            before + quoted if "\\" not in path and _is_path(quoted) else "",
        )
    if any(urllib.parse.unquote(part) in (".", "..") for part in path.split("/")):
        raise TextError("its path has a '.' or '..' in it")


def _is_path(path: str) -> bool:
    dots = any(urllib.parse.unquote(part) in (".", "..") for part in path.split("/"))
    return _PATH.fullmatch(path) is not None and not dots


def _with_scheme(text: str) -> str:
    if text.isascii() and text.isdigit():
        return _if_valid(f"http://localhost:{text}")
    if text.startswith("/") and not text.startswith("//"):
        return _if_valid(UNIX + text)
    return _if_valid("http://" + re.sub(r"(?i)^(?:http:)?/*", "", text))


def _if_valid(text: str) -> str:
    """The text if it is an agent URL, else empty."""
    try:
        read_agent_url(text)
    except TextError:
        return ""
    return text


def _read_authority(authority: str) -> tuple[str, int]:
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise TextError("its host and port can't be told apart")
    host, port_text = found.group(1), found.group(2)
    port = 80 if port_text is None else int(port_text or "0")
    if not 1 <= port <= 65535:
        raise TextError("its port is not from 1 to 65535")
    if host.startswith("["):
        if "%" in host:
            raise TextError("an address with a zone can't be used")
        try:
            return str(ipaddress.IPv6Address(host[1:-1])), port
        except ValueError:
            raise TextError("what stands in brackets is not an IPv6 address") from None
    if not host:
        raise TextError("the host is missing")
    if not host.isascii():
        raise TextError("its host is not ASCII; write the xn-- form")
    if _NAME.fullmatch(host) is None or len(host) > 253:
        raise TextError("its host is not a name or an address")
    if _looks_numeric(host) and _address(host) is None:
        raise TextError("its host is not an IPv4 address")
    return host.lower(), port


def _plain_name(host: str) -> str:
    return host.lower().rstrip(".")


def _looks_numeric(host: str) -> bool:
    return re.fullmatch(r"[0-9.]+", host) is not None and _dotted(host) is None


def _dotted(host: str) -> ipaddress.IPv4Address | None:
    try:
        return ipaddress.IPv4Address(host)
    except ValueError:
        return None


def _address(host: str) -> IPAddress | None:
    """The address that the resolver makes of a numeric host, short forms such as 127.1 too."""
    if ":" in host:
        try:
            address = ipaddress.IPv6Address(host)
        except ValueError:
            return None
        return address.ipv4_mapped or address
    if re.fullmatch(r"[0-9a-fA-FxX.]+", host) is None or not host[0].isdigit():
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None
