"""Assembles the parts of the sidecar, supervises the workers, drains."""

from iatp.sidecar.supervisor import run

__all__ = ["run"]
