"""What runs under callgrind for `benchmarks.costs`: turns of the flight recorder alone."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

from benchmarks import counted
from iatp._fast import record
from iatp.adapters.encryption import LogKeys
from iatp.adapters.log_folder import LogFolder
from iatp.adapters.recorder import Recorder, new_boot_id

REQUESTS = 8
"""Of one turn, two records each."""


def main() -> None:
    """Write to the folder of the first argument, encrypted where IATP_LOG_KEY_FILE says so."""
    key_file = os.environ.get("IATP_LOG_KEY_FILE")
    folder = LogFolder(Path(sys.argv[1]), keys=LogKeys.load(key_file) if key_file else None)
    recorder = Recorder(folder, 0, new_boot_id(), 64 << 20, join=record.lines)
    tails = [
        b'"type":"request","trace_id":"%032d","request_id":"%036d","payload":"%b"}'
        % (number, number, b"x" * length)
        for number in range(REQUESTS)
        for length in (900, 350)
    ]
    counted.run([("turn", functools.partial(recorder.append, tails))])
    recorder.close()
    folder.close()


if __name__ == "__main__":
    main()
