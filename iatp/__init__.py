"""The Inter-Agent Trust Protocol sidecar: the names that users import."""

from importlib import import_module
from typing import TYPE_CHECKING

from iatp.values.version import VERSION

if TYPE_CHECKING:
    from iatp.sidecar.programmatic import create_sidecar
    from iatp.values.manifest import (
        AgentCapabilities,
        CapabilityManifest,
        PrivacyContract,
        RetentionPolicy,
        ReversibilityLevel,
        TrustLevel,
    )

__version__ = VERSION

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
    # Nothing is loaded by who does not use it: `iatp version` is quick, and who only builds a
    # manifest gets no server.
    if name == "create_sidecar":
        return import_module("iatp.sidecar.programmatic").create_sidecar
    if name in __all__:
        return getattr(import_module("iatp.values.manifest"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
