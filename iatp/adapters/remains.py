"""What a crash leaves of a deletion: the seal of a segment whose records are gone.

Retention deletes records first, then their seal and what was set aside. Where the process ends in
between, the rest is deleted later, if a `retention` record names the segment. If none does, it is
the trace of a deletion that nobody vouches for, and stays for `iatp log verify`.
"""

from __future__ import annotations

import logging

from iatp.adapters.log_folder import LogFolder, newest_first
from iatp.adapters.segments import SegmentError, open_segment
from iatp.values.records import retentions

_log = logging.getLogger(__name__)


class Remains:
    """Deletes what is left of deleted segments. The log is read for each of them once."""

    def __init__(self, folder: LogFolder) -> None:
        self._folder = folder
        self._unvouched: set[str] = set()

    def delete(self) -> None:
        """Delete what there is now.

        Raises:
            OSError: the folder can't be read, or changed.
        """
        stems = self._folder.without_records() - self._unvouched
        if not stems:
            return
        named = self._named(stems)
        if named:
            self._folder.unlink(named)
            _log.info("What was left of %d deleted segments is deleted.", len(named))
        # A segment that was never used may have gone meanwhile.
        for stem in sorted((stems - named) & self._folder.without_records()):
            self._unvouched.add(stem)
            _log.error("The records of segment %s are gone, and no record says why.", stem)

    def _named(self, stems: set[str]) -> set[str]:
        """Return those that retention has deleted; the newest records come first."""
        named: set[str] = set()
        for segment in newest_first(self._folder.path):
            if segment.worker != 0:
                continue
            if named == stems:
                break
            try:
                text = open_segment(self._folder.path, segment, self._folder.keys)
                if text is None:
                    continue
                with text:
                    for _, lines in text.blocks():
                        for record in retentions(lines):
                            named |= stems & {each.segment for each in record.segments}
            except SegmentError:
                # Its key is not there, or it was changed: it vouches for nothing.
                continue
        return named
