"""Assembles the parts of the sidecar, supervises the workers, drains."""
