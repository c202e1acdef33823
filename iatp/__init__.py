"""The Inter-Agent Trust Protocol sidecar: the names that users import."""

from iatp.values.manifest import (
    AgentCapabilities,
    CapabilityManifest,
    PrivacyContract,
    RetentionPolicy,
    ReversibilityLevel,
    TrustLevel,
)
from iatp.values.version import VERSION as __version__

__all__ = [
    "AgentCapabilities",
    "CapabilityManifest",
    "PrivacyContract",
    "RetentionPolicy",
    "ReversibilityLevel",
    "TrustLevel",
    "__version__",
    "create_sidecar",
]


def __getattr__(name: str) -> object:
    # The server's half is loaded by who serves, not by who only builds a manifest.
    if name == "create_sidecar":
        from iatp.sidecar.programmatic import create_sidecar  # noqa: PLC0415

        return create_sidecar
    raise AttributeError(name)
