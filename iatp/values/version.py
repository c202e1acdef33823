"""The versions of this package and of the protocol. The build reads the first from here."""

from __future__ import annotations

VERSION = "1.0.0.dev0"
PROTOCOL_VERSION = "1.0"
