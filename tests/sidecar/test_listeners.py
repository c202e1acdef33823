from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from iatp.adapters.configuration import load
from iatp.sidecar.listeners import Listener, open_listeners
from iatp.values.config import Settings
from iatp.values.errors import StartError

linux = pytest.mark.skipif(sys.platform != "linux", reason="SO_REUSEPORT shares only on Linux")


def settings(workers: int = 1, **more: object) -> Settings:
    given = {"host": "127.0.0.1", "port": 0, "admin_port": 0, "workers": workers, **more}
    return load(given, in_code=True).settings


def connects(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.2):
            return True
    except OSError:
        return False


def opened(workers: int = 1) -> Listener:
    (listener,) = open_listeners(settings(workers))
    return listener


def test_one_worker_has_one_socket() -> None:
    listener = opened()
    assert (listener.name, len(listener.sockets)) == ("data", 1)
    assert connects(listener.port)
    listener.close()
    assert not connects(listener.port)


@linux
def test_each_worker_has_a_socket_of_its_own() -> None:
    listener = opened(3)
    assert {each.getsockname()[1] for each in listener.sockets} == {listener.port}
    assert len({each.fileno() for each in listener.sockets}) == 3
    listener.keep_only(1)
    assert [each.fileno() >= 0 for each in listener.sockets] == [False, True, False]
    assert connects(listener.port)
    listener.close()


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"port {port} is in use.*IATP_PORT"):
            open_listeners(settings(port=port))


def test_a_host_that_is_not_here_is_said_by_its_setting() -> None:
    # It is for documentation (RFC 5737): no machine has it.
    nowhere = "192.0.2.1"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    admin = {"admin_host": nowhere, "admin_port": port, "admin_token": "x" * 16}
    for variable, given in (("IATP_HOST", {"host": nowhere}), ("IATP_ADMIN_HOST", admin)):
        with pytest.raises(StartError, match=f"of this machine; set {variable} to one that is"):
            open_listeners(settings(**given))


def test_a_socket_without_a_folder_is_said(tmp_path: Path) -> None:
    path = tmp_path / "none" / "socket"
    with pytest.raises(StartError, match=r"No such file.*; make its folder .* or set IATP_HOST"):
        open_listeners(settings(host=f"unix:{path}", port=None))


@linux
def test_turning_away_keeps_what_has_begun() -> None:
    listener = opened()
    with socket.create_connection(("127.0.0.1", listener.port), timeout=1.0) as begun:
        listener.turn_away(0)
        assert not connects(listener.port)
        # What had been taken before is accepted, and its bytes arrive.
        begun.sendall(b"hello")
        listener.sockets[0].settimeout(1.0)
        accepted, _ = listener.sockets[0].accept()
        with accepted:
            assert accepted.recv(5) == b"hello"
            accepted.sendall(b"there")
            assert begun.recv(5) == b"there"
    listener.close()
