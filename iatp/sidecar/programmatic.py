"""The sidecar from Python code: what `iatp.create_sidecar` returns."""

from __future__ import annotations

from iatp.adapters.configuration import load
from iatp.sidecar.supervisor import run
from iatp.values.config import Loaded
from iatp.values.manifest import CapabilityManifest


class Sidecar:
    """A configured sidecar that has not started."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; return the exit status. Raises: StartError."""
        return run(self.loaded)


def create_sidecar(
    agent_url: str | None = None,
    manifest: CapabilityManifest | None = None,
    port: int | None = None,
    **settings: object,
) -> Sidecar:
    """Return a sidecar for one agent; `settings` are keyed as in the TOML file.

    What is not given comes from the environment, as for the command.

    Raises:
        ConfigurationError: with every problem at once.

    """
    given = {"agent_url": agent_url, "port": port, **settings}
    flags = {name: value for name, value in given.items() if value is not None}
    return Sidecar(load(flags, manifest=manifest, in_code=True))
