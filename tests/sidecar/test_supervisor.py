"""What comes with the import of what serves, and what does not."""

from __future__ import annotations

import os

import pytest

from tests.adapters.recording import run_python

IMPORTS = """
import os, ssl
os.environ.pop("SSL_CERT_FILE", None)
if {given!r}:
    os.environ["SSL_CERT_FILE"] = {given!r}
from iatp.sidecar import supervisor
supervisor._worker_class()
from aiohttp import connector
contexts = [one for one in vars(connector).values() if isinstance(one, ssl.SSLContext)]
print(len(contexts) > 0, sum(one.cert_store_stats()["x509"] for one in contexts))
print(os.environ.get("SSL_CERT_FILE"), os.environ.get("FROZENLIST_NO_EXTENSIONS"))
print("libstdc++" in open("/proc/self/maps").read())
"""


@pytest.mark.parametrize("given", ["", os.devnull + ".none"])
def test_what_only_takes_memory_stays_out_and_the_variables_are_as_they_were(given: str) -> None:
    done = run_python(IMPORTS.format(given=given))
    assert done.stdout.splitlines() == ["True 0", f"{given or None} None", "False"], done.stderr
