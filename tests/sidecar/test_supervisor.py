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
print(os.environ.get("SSL_CERT_FILE"))
"""


@pytest.mark.parametrize("given", ["", os.devnull + ".none"])
def test_no_authorities_are_read_and_the_variable_is_as_it_was(given: str) -> None:
    done = run_python(IMPORTS.format(given=given))
    assert done.stdout.splitlines() == ["True 0", given or "None"], done.stderr
