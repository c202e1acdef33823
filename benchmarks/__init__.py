"""How fast the compiled hot path is, and the gate that fails when it becomes slower."""
