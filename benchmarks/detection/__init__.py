"""How well the scan finds what it must, and leaves alone what it must not (make detection)."""
