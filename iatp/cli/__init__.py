"""Commands: `iatp` and `iatp-sidecar`."""
