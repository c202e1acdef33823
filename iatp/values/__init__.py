"""What everything else is built from: settings, manifest, records, errors; no I/O."""
