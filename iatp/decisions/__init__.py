"""What is decided, as pure functions and tables: no I/O, no clock."""
