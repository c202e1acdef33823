"""Agent URLs and bind hosts: what is read, what is refused with which hint, what is us."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iatp.values.address import (
    AgentAddress,
    TextError,
    is_loopback,
    points_at,
    read_agent_url,
    read_bind_host,
    read_data_host,
    show_agent_url,
    socket_path,
)


@pytest.mark.parametrize(
    ("text", "host", "port", "path", "authority"),
    [
        ("http://localhost:8000", "localhost", 8000, "", "localhost:8000"),
        ("http://agent", "agent", 80, "", "agent"),
        ("HTTP://Agent.Example:81/", "agent.example", 81, "/", "agent.example:81"),
        ("http://my_agent:8000/a/b", "my_agent", 8000, "/a/b", "my_agent:8000"),
        ("http://[::1]:9/x%20y", "::1", 9, "/x%20y", "[::1]:9"),
        ("http://[0:0::1]", "::1", 80, "", "[::1]"),
        ("http://10.0.0.1:65535/a@b", "10.0.0.1", 65535, "/a@b", "10.0.0.1:65535"),
        ("http://agent.:8000/a..b/...", "agent.", 8000, "/a..b/...", "agent.:8000"),
    ],
)
def test_agent_url(text: str, host: str, port: int, path: str, authority: str) -> None:
    address = read_agent_url(text)
    assert (address.scheme, address.host, address.port) == ("http", host, port)
    assert (address.path, address.authority) == (path, authority)
    assert read_agent_url(address.url) == address
    assert str(address) == address.url


def test_targets() -> None:
    assert AgentAddress(host="a", port=1).target == "/"
    assert AgentAddress(host="a", port=1).base == ""
    slashed = AgentAddress(host="a", port=1, path="/api/")
    assert (slashed.target, slashed.base) == ("/api/", "/api")


@pytest.mark.parametrize(
    ("text", "complaint", "meant"),
    [
        ("localhost:8000", "the scheme is missing", "http://localhost:8000"),
        ("//agent/x", "the scheme is missing", "http://agent/x"),
        ("http:/agent", "the scheme is missing", "http://agent"),
        ("http:agent", "the scheme is missing", "http://agent"),
        ("8000", "the scheme is missing", "http://localhost:8000"),
        ("80801", "the scheme is missing", ""),
        ("user:pw@agent", "the scheme is missing", ""),
        ("https://agent", "https to the agent is not served yet", ""),
        ("unix:///run/agent", "its path begins with more than one slash", "unix:/run/agent"),
        ("unix:run/agent", "the path of its socket is not absolute", ""),
        ("unix:@agent", "the path of its socket is not absolute", ""),
        ("unix:", "the path of its socket is not absolute", ""),
        ("unix:/run/", "its path is that of a folder", ""),
        ("unix:/run/a\tb", "its path holds a character", ""),
        ("unix:/" + "a" * 107, "the path of its socket is longer than 107 bytes", ""),
        ("unix:/run/a:8000", "what follows the second colon", "unix:/run/a:/8000"),
        ("unix:/run/a:", "what follows the second colon", "unix:/run/a"),
        ("unix:/run/a?x=1", "it has a query or a fragment", "unix:/run/a"),
        ("unix:/run/a:/b#c", "it has a query or a fragment", "unix:/run/a:/b"),
        ("unix:/run/a:/b c", "its path has characters", "unix:/run/a:/b%20c"),
        ("unix:/run/a:/b/../c", "its path has a '.' or '..'", ""),
        ("http://unix:/run/a.sock:/b", "a Unix socket is written without", "unix:/run/a.sock:/b"),
        ("http+unix://%2Frun%2Fa", "a Unix socket is written without", "unix:/run/a"),
        ("/run/agent.sock", "the scheme is missing", "unix:/run/agent.sock"),
        ("ftp://agent", "the scheme is not http", ""),
        ("http://user:pw@agent", "it holds credentials", ""),
        ("http://agent/x?k=v", "it has a query or a fragment", "http://agent/x"),
        ("http://agent#x", "it has a query or a fragment", "http://agent"),
        ("http://", "the host is missing", ""),
        ("http://:8000", "the host is missing", ""),
        ("http://agent:", "its port is not from 1 to 65535", ""),
        ("http://agent:0", "its port is not from 1 to 65535", ""),
        ("http://agent:65536", "its port is not from 1 to 65535", ""),
        ("http://agent:80a", "its host and port can't be told apart", ""),
        ("http://::1:8000", "its host and port can't be told apart", ""),
        ("http://[agent]", "what stands in brackets is not an IPv6 address", ""),
        ("http://[fe80::1%eth0]", "an address with a zone can't be used", ""),
        ("http://a b", "its host is not a name or an address", ""),
        ("http://-agent", "its host is not a name or an address", ""),
        ("http://a..b", "its host is not a name or an address", ""),
        ("http://256.1.1.1", "its host is not an IPv4 address", ""),
        ("http://bücher", "its host is not ASCII", ""),
        ("http://agent/a b", "its path has characters", "http://agent/a%20b"),
        ("http://agent\\x", "its path has characters", ""),
        ("http://agent/%zz", "its path has characters", ""),
        ("http://agent/..", "its path has a '.' or '..'", ""),
        ("http://agent/a/%2e%2E/b", "its path has a '.' or '..'", ""),
    ],
)
def test_agent_url_refused(text: str, complaint: str, meant: str) -> None:
    with pytest.raises(TextError) as caught:
        read_agent_url(text)
    assert caught.value.complaint.startswith(complaint)
    assert caught.value.meant == meant


@pytest.mark.parametrize(
    ("text", "unix_path", "target", "base"),
    [
        ("unix:/run/agent.sock", "/run/agent.sock", "/", ""),
        ("UNIX:/run/agent.sock:/", "/run/agent.sock", "/", ""),
        ("unix:/run/my agent:/api/v1/", "/run/my agent", "/api/v1/", "/api/v1"),
        ("unix:/a:/b:c", "/a", "/b:c", "/b:c"),
        ("unix:/" + "a" * 106, "/" + "a" * 106, "/", ""),
    ],
)
def test_agent_on_a_unix_socket(text: str, unix_path: str, target: str, base: str) -> None:
    address = read_agent_url(text)
    assert (address.unix_path, address.target, address.base) == (unix_path, target, base)
    assert (address.scheme, address.authority) == ("unix", "localhost")
    assert address.url == "unix:" + text[5:]
    assert read_agent_url(address.url) == address


@given(st.text(alphabet="ab:/.%? #é").map(lambda text: f"unix:{text}"))
def test_any_unix_url(text: str) -> None:
    try:
        address = read_agent_url(text)
    except TextError as error:
        if error.meant:
            read_agent_url(error.meant)
        return
    assert read_agent_url(address.url) == address
    assert address.unix_path.startswith("/")


@given(st.text() | st.text(alphabet="htp:/[]@?#.%0aZ \r\\").map(lambda text: f"http://{text}"))
def test_any_agent_url(text: str) -> None:
    try:
        address = read_agent_url(text)
    except TextError as error:
        if error.meant:
            read_agent_url(error.meant)
        return
    assert read_agent_url(address.url) == address
    assert all("!" <= character <= "~" for character in address.url)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://u:p@h/x", "http://***@h/x"),
        ("u:p@h", "***@h"),
        ("http://u:p@q@h", "http://***@h"),
        ("http://h?key=1", "http://h?***"),
        ("http://h/x", "http://h/x"),
    ],
)
def test_shown_url(text: str, shown: str) -> None:
    assert show_agent_url(text) == shown


@pytest.mark.parametrize(
    ("text", "host"),
    [("0.0.0.0", "0.0.0.0"), ("::", "::"), ("0::1", "::1"), ("LocalHost", "localhost")],
)
def test_bind_host(text: str, host: str) -> None:
    assert read_bind_host(text) == host


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("unix:/run/x", "unix:/run/x"),
        ("Unix:/Run/X y", "unix:/Run/X y"),
        ("LocalHost", "localhost"),
    ],
)
def test_data_host(text: str, host: str) -> None:
    assert read_data_host(text) == host
    assert socket_path(host) == host[5:] * host.startswith("unix:")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("unix:run/x", ""),
        ("unix:///run/x", "unix:/run/x"),
        ("unix:/run/x:8001", ""),
        ("unix:/run/x/", ""),
        ("/run/x", "unix:/run/x"),
        ("*", "0.0.0.0"),
    ],
)
def test_data_host_refused(text: str, meant: str) -> None:
    with pytest.raises(TextError) as caught:
        read_data_host(text)
    assert caught.value.meant == meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("unix:/run/x", ""),
        ("*", "0.0.0.0"),
        ("[::1]", "::1"),
        ("localhost:8001", "localhost"),
        ("http://localhost", ""),
        ("1:2:3", ""),
        ("8001", ""),
        ("127.1", ""),
        ("a b", ""),
        ("a/b", ""),
    ],
)
def test_bind_host_refused(text: str, meant: str) -> None:
    with pytest.raises(TextError) as caught:
        read_bind_host(text)
    assert caught.value.meant == meant


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "127.1"]
)
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost.example", "mylocalhost"])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


OWN = {"box", "box.lan", "10.0.0.5", "fd00::5"}


@pytest.mark.parametrize(
    ("agent", "bound"),
    [
        *((host, "0.0.0.0") for host in ("localhost", "LOCALHOST.", "127.0.0.1", "127.3.2.1")),
        *((host, "0.0.0.0") for host in ("::1", "0.0.0.0", "::", "0", "127.1", "2130706433")),
        *((host, "::") for host in ("localhost", "127.0.0.1", "::ffff:127.0.0.1", "0x7f.1")),
        *((host, "0.0.0.0") for host in ("box", "BOX.lan", "10.0.0.5", "fd00::5", "fd00:0::5")),
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("127.0.0.1", "localhost"),
        ("0.0.0.0", "127.0.0.1"),
        ("10.0.0.5", "10.0.0.5"),
        ("box", "10.0.0.5"),
        ("name.example", "name.example"),
    ],
)
def test_points_at_itself(agent: str, bound: str) -> None:
    assert points_at(agent, bound, OWN)


@pytest.mark.parametrize(
    ("agent", "bound"),
    [
        ("agent", "0.0.0.0"),
        ("10.0.0.6", "0.0.0.0"),
        ("127.0.0.2", "127.0.0.1"),
        ("127.0.0.1", "10.0.0.5"),
        ("localhost", "10.0.0.5"),
        ("10.0.0.5", "127.0.0.1"),
        ("box", "127.0.0.1"),
        ("10.0.0.5", "10.0.0.7"),
    ],
)
def test_points_elsewhere(agent: str, bound: str) -> None:
    assert not points_at(agent, bound, OWN)
