"""What touches the world outside the process: files, shared memory, the environment."""
