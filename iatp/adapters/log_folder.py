"""The flight recorder's folder: its lock, the names of its segments, and their removal.

One sidecar owns a folder: the supervisor holds `flock` on the file `lock` in it, its workers
inherit the lock, and it goes with the last of them. A segment that is being written ends in
`.open.jsonl` and is locked by its writer; at close it is renamed to `.jsonl`. So what may be
pruned shows in the name, and whether a writer still lives shows in the lock, not in a pid.

Nothing here is on the hot path.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import itertools
import json
import logging
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from iatp._fast import lookup
from iatp.adapters.encryption import LogKeys
from iatp.adapters.recovery import Leftover, recover
from iatp.adapters.seals import (
    INDEX_SUFFIX,
    SEAL_SUFFIX,
    TORN_SUFFIX,
    last_point,
    seal_header,
    timestamp,
    write_head,
)
from iatp.adapters.signing import SigningKey, default_signing_key_path, signing_key
from iatp.values.errors import StartError
from iatp.values.records import DeletedSegment, OldestSegment
from iatp.values.seals import Final

_log = logging.getLogger(__name__)

LOCK_NAME = "lock"
CONTROL_STATE_NAME = "control.sqlite"

_OPEN_SUFFIX = ".open.jsonl"
_CLOSED_SUFFIX = ".jsonl"
_COMPRESSED_SUFFIX = ".zst"
_ENCRYPTED_SUFFIX = ".enc"
TEMPORARY_SUFFIX = ".tmp"
"""Of a file that takes the place of another once it is complete."""
_STEM = (
    r"(?P<created>\d{8}T\d{6}\.\d{6}Z)-w(?P<worker>\d{1,5})"
    r"-(?P<boot_id>[A-Za-z0-9-]{1,64})-(?P<number>\d{6,12})"
)
_NAME = re.compile(
    _STEM + r"(?:(?P<open>\.open)\.jsonl|\.jsonl(?P<compressed>\.zst)?)(?P<encrypted>\.enc)?"
)
_DASHES = 3
"""At least, in a stem."""
_POINT_AT = len("20251124T160000")
_FILE = re.compile(rf"(?P<stem>{_STEM})\..+")
_TEMPORARY = re.compile(rf"(?:{_STEM}|head\.json)(?:\.[A-Za-z0-9]+)*\.tmp")
_BOOT_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_DELETED_AT_ONCE = 256
"""A record that names so many segments has some 50 KB."""
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_PROBE_BYTES = 4096
"""One block: what a nearly full disk refuses."""


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """One file of records, known by its name alone."""

    created: str
    """Wall clock at creation, `YYYYMMDDTHHMMSS.ffffffZ`: names sort by age."""
    worker: int
    boot_id: str
    number: int
    """Counts the segments of one process from 0."""
    closed: bool
    compressed: bool = False
    """Only what is closed is."""
    encrypted: bool = False

    @property
    def stem(self) -> str:
        """The name without its suffix; the same while open and when closed."""
        return f"{self.created}-w{self.worker}-{self.boot_id}-{self.number:06d}"

    @property
    def name(self) -> str:
        """The file's name."""
        suffix = _CLOSED_SUFFIX if self.closed else _OPEN_SUFFIX
        if self.compressed:
            suffix += _COMPRESSED_SUFFIX
        if self.encrypted:
            suffix += _ENCRYPTED_SUFFIX
        return self.stem + suffix

    def as_closed(self) -> Segment:
        """Return the segment as it is called once closed."""
        return msgspec.structs.replace(self, closed=True)

    def forms(self) -> list[Segment]:
        """Return the segment as it may be called from now on, as it is called now first."""
        later = [
            Segment(
                created=self.created,
                worker=self.worker,
                boot_id=self.boot_id,
                number=self.number,
                closed=True,
                compressed=compressed,
                encrypted=encrypted,
            )
            for compressed in (False, True)
            for encrypted in (False, True)
        ]
        return [self, *(form for form in later if form != self)]


class Outdated(msgspec.Struct, frozen=True, kw_only=True):
    """Closed segments that retention is to delete, once a record says so."""

    reason: str
    """`age` or `size`."""
    size: int
    """Bytes, of all their files together."""
    segments: list[DeletedSegment]
    chains: list[OldestSegment]
    """Where each worker slot's chain begins then."""

    def tail(self, agent_id: str) -> bytes:
        """Return the tail of the record that says so."""
        made_here = os.urandom(16).hex()
        record = {
            "type": "retention",
            "trace_id": made_here,
            "request_id": made_here,
            "timestamp": timestamp(),
            "agent_id": agent_id,
            "mono_ns": time.monotonic_ns(),
            "reason": self.reason,
            "segments": msgspec.to_builtins(self.segments),
            "chains": msgspec.to_builtins(self.chains),
        }
        # All that is not printable ASCII is escaped, line separators included.
        return json.dumps(record, separators=(",", ":")).encode("ascii")[1:]

    def __str__(self) -> str:
        why = "too old" if self.reason == "age" else "more than the log may take"
        return f"{len(self.segments)} segments ({self.size} bytes) are {why} and are deleted."


class LogFolder:
    """The folder, made if absent, locked by this sidecar until `close` or its last process ends.

    Raises:
        StartError: a symbolic link, of another user, not writable, or in use by another sidecar.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        signing_key: SigningKey | None = None,
        *,
        keys: LogKeys | None = None,
    ) -> None:
        """Take the key that signs seals; None: that of the default file beside the folder.

        And the keys of the log; None: it is not encrypted.
        """
        self._signing_key = signing_key
        self.keys = keys
        self.path = Path(os.path.abspath(path))  # noqa: PTH100 - must not resolve links
        _make_folder(self.path)
        try:
            self._lock_fd = self._lock()
        except OSError as error:
            raise _not_writable(self.path, error) from None
        try:
            self.check_writable()
            self._remove_temporary()
            self.leftovers: list[Leftover] = []
            """Segments that an earlier sidecar left open."""
            try:
                self.leftovers = self.close_leftovers()
            except OSError as error:
                # Retention may make room; each worker tries again before it writes.
                if error.errno not in NO_ROOM:
                    raise
                _log.error("What an earlier sidecar left open cannot be closed yet (%s).", error)
        except OSError as error:
            self.close()
            raise _not_writable(self.path, error) from None
        except StartError:
            self.close()
            raise

    @property
    def control_state_path(self) -> Path:
        """Where the workers' shared control state lives."""
        return self.path / CONTROL_STATE_NAME

    @property
    def signing_key(self) -> SigningKey:
        """What seals and heads are signed with."""
        if self._signing_key is None:
            self._signing_key = signing_key(default_signing_key_path(self.path))
        return self._signing_key

    def close(self) -> None:
        """Give up this process's hold on the lock."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def open_directory(self) -> int:
        """Return a file descriptor of the folder, checked anew.

        Raises:
            OSError: it is gone, or something else stands in its place.
        """
        return _open_own_directory(self.path)

    def check_writable(self) -> None:
        """Check that a file can be made here. A full disk passes: pruning may free it.

        Raises:
            StartError: it can't.
        """
        try:
            self.try_write("start")
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise _not_writable(self.path, error) from None

    def try_write(self, who: str) -> None:
        """Write a block to a file of its own and remove it.

        Raises:
            OSError: the folder takes no more data.
        """
        directory = self.open_directory()
        name = f"{who}-{os.urandom(4).hex()}.probe"
        try:
            fd = os.open(
                name,
                os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
                0o600,
                dir_fd=directory,
            )
            try:
                if os.write(fd, b"\n" * _PROBE_BYTES) != _PROBE_BYTES:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(fd)
                os.unlink(name, dir_fd=directory)
        finally:
            os.close(directory)

    def segments(self) -> list[Segment]:
        """Return all segments, oldest name first."""
        return list_segments(self.path)

    def close_leftovers(self, worker: int | None = None) -> list[Leftover]:
        """Close the open segments whose writers are dead, of one worker slot or of all.

        They are cut to their whole records and sealed (iatp/adapters/recovery.py). One that is
        still locked by its writer is left alone, so this may run while other workers write; so
        is one that cannot be read. Empty ones are removed.

        Raises:
            OSError: the folder can't be read, or takes no data.
        """
        closed = []
        directory = self.open_directory()
        try:
            for segment in self.segments():
                if segment.closed or worker not in {None, segment.worker}:
                    continue
                try:
                    leftover = _close_leftover(self, segment, directory)
                except OSError as error:
                    if error.errno in NO_ROOM or error.errno == errno.EROFS:
                        raise
                    # The log would stand still for it. Its chain shows that it is missing.
                    _log.error("Segment %s cannot be closed (%s).", segment.name, error)
                    continue
                if leftover is not None:
                    closed.append(leftover)
        finally:
            os.close(directory)
        return closed

    def _remove_temporary(self) -> None:
        """Remove what a crash left of files that were being made.

        Who still makes one, being of a sidecar that died, then can't give it its name.
        """
        directory = self.open_directory()
        try:
            for name in os.listdir(directory):  # noqa: PTH208 - of the folder that was checked
                if _TEMPORARY.fullmatch(name):
                    with contextlib.suppress(OSError):
                        os.unlink(name, dir_fd=directory)
        finally:
            os.close(directory)

    def outdated(
        self, max_bytes: int, max_age_s: float, now: float | None = None
    ) -> Outdated | None:
        """Return what retention is to delete next: what is too old, then what is too much.

        Whole closed segments with all their files, of each worker slot the oldest first, so
        that what stays is one chain. Their age is that of the last write of their seal, or of
        their data where they have none. Open segments count for the size. `now` is Unix time.

        Raises:
            OSError: the folder can't be read.
        """
        now = time.time() if now is None else now
        directory = self.open_directory()
        try:
            self._keep_lock()
            files = _files_by_stem(directory)
        finally:
            os.close(directory)
        segments = [each for each in self.segments() if each.stem in files]
        reason = "age"
        chosen = _too_old(segments, files, now - max_age_s)
        if not chosen:
            reason = "size"
            chosen = _too_much(segments, files, max_bytes)
        if not chosen:
            return None
        return Outdated(
            reason=reason,
            size=sum(files[segment.stem].size for segment in chosen),
            segments=[self._deleted(segment) for segment in chosen],
            chains=self._chains({segment.stem for segment in chosen}, segments),
        )

    def _deleted(self, segment: Segment) -> DeletedSegment:
        final = last_point(self.path, segment.stem)
        if not isinstance(final, Final):
            return DeletedSegment(segment=segment.stem, records=None, bytes=None, sha256=None)
        return DeletedSegment(
            segment=segment.stem, records=final.records, bytes=final.bytes, sha256=final.sha256
        )

    def _chains(self, deleted: set[str], segments: list[Segment]) -> list[OldestSegment]:
        oldest: dict[int, str] = {}
        for segment in segments:
            if segment.stem not in deleted:
                oldest.setdefault(segment.worker, segment.stem)
        chains = []
        for worker, stem in sorted(oldest.items()):
            header = seal_header(self.path, stem)
            previous = header.previous.sha256 if header is not None else None
            chains.append(OldestSegment(worker=worker, segment=stem, previous=previous))
        return chains

    def write_head(self, agent_id: str) -> None:
        """Write down, signed, how far every worker slot's chain is sealed.

        Raises:
            OSError: it can't be written; the head before stays.
        """
        directory = self.open_directory()
        try:
            write_head(self.path, directory, agent_id, self.signing_key)
        finally:
            os.close(directory)

    def delete(self, outdated: Outdated) -> None:
        """Delete these segments, with all their files; a record must say so already.

        Raises:
            OSError: the folder can't be changed.
        """
        self.unlink({each.segment for each in outdated.segments})

    def make_room(self, outdated: Outdated) -> None:
        """Delete the indexes of these segments: room for the record that they are deleted.

        An index is no part of the log, and these would be gone in a moment.

        Raises:
            OSError: the folder can't be changed.
        """
        self.unlink({each.segment for each in outdated.segments}, INDEX_SUFFIX)

    def without_records(self) -> set[str]:
        """Return the stems of what is left of segments whose records are gone.

        Raises:
            OSError: the folder can't be read.
        """
        directory = self.open_directory()
        try:
            # What is being made is its maker's.
            names = [
                name
                for name in os.listdir(directory)  # noqa: PTH208 - of the folder checked
                if name.endswith((SEAL_SUFFIX, INDEX_SUFFIX, TORN_SUFFIX))
            ]
        finally:
            os.close(directory)
        # Listed before the records, which are there first.
        stems = {stem for name in names if (stem := _stem_of(name)) is not None}
        return stems - {segment.stem for segment in self.segments()}

    def unlink(self, stems: set[str], suffix: str = "") -> None:
        """Delete the files of these segments whose names end so, the records before their seal.

        Raises:
            OSError: the folder can't be changed.
        """
        directory = self.open_directory()
        try:
            while names := _names_of(directory, stems, suffix):
                # The keeper may give records another name meanwhile, and then they are still there.
                for name in [name for name in names if segment_of(name) is not None] or names:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=directory)
        finally:
            os.close(directory)

    def _lock(self) -> int:
        directory = self.open_directory()
        try:
            fd = os.open(
                LOCK_NAME,
                os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC,
                0o600,
                dir_fd=directory,
            )
        finally:
            os.close(directory)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).split(b"\n", 1)[0].decode("ascii", "replace")
            os.close(fd)
            who = f" (process {holder} or a worker of it)" if holder.isdigit() else ""
            raise StartError(
                f"The log folder {self.path} is in use by another sidecar{who}; "
                "stop that one or set IATP_LOG_DIR to another folder."
            ) from None
        except OSError:
            os.close(fd)
            raise
        pid = b"%d\n" % os.getpid()
        # The pid is for people; a full disk must not stand in the way of the pruning to come.
        with contextlib.suppress(OSError):
            os.pwrite(fd, pid, 0)
            os.ftruncate(fd, len(pid))
        return fd

    def _keep_lock(self) -> None:
        """Lock the folder anew where it, or the lock file, was replaced under us."""
        with contextlib.suppress(FileNotFoundError):
            found = (self.path / LOCK_NAME).lstat()
            held = os.fstat(self._lock_fd)
            if (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino):
                return
        try:
            fd = self._lock()
        except StartError as error:
            _log.error("%s", error)
            return
        os.close(self._lock_fd)
        self._lock_fd = fd


class _Files(msgspec.Struct):
    """All files of one segment together."""

    size: int = 0
    changed: float = 0.0
    """When its seal, or where it has none its data, was last written."""


def _files_by_stem(directory: int) -> dict[str, _Files]:
    found: dict[str, _Files] = {}
    sealed = set()
    for name in os.listdir(directory):
        stem = _stem_of(name)
        if stem is None:
            continue
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            continue
        files = found.setdefault(stem, _Files())
        files.size += status.st_size
        if name.endswith(SEAL_SUFFIX):
            sealed.add(stem)
            files.changed = status.st_mtime
        elif stem not in sealed and segment_of(name) is not None:
            files.changed = status.st_mtime
    return found


def _too_old(segments: list[Segment], files: dict[str, _Files], since: float) -> list[Segment]:
    chosen: list[Segment] = []
    kept: set[int] = set()
    for segment in segments:
        if not segment.closed or files[segment.stem].changed >= since:
            kept.add(segment.worker)
        elif segment.worker not in kept and len(chosen) < _DELETED_AT_ONCE:
            chosen.append(segment)
    return chosen


def _too_much(segments: list[Segment], files: dict[str, _Files], most: int) -> list[Segment]:
    chosen: list[Segment] = []
    kept: set[int] = set()
    total = sum(each.size for each in files.values())
    for segment in segments:
        if total <= most or len(chosen) == _DELETED_AT_ONCE:
            break
        if not segment.closed:
            kept.add(segment.worker)
        elif segment.worker not in kept:
            chosen.append(segment)
            total -= files[segment.stem].size
    return chosen


def _names_of(directory: int, stems: set[str], suffix: str) -> list[str]:
    return [
        name
        for name in sorted(os.listdir(directory))
        if _stem_of(name) in stems and name.endswith(suffix)
    ]


def _stem_of(name: str) -> str | None:
    """Return the stem of the segment to which a file belongs, or None."""
    match = _FILE.fullmatch(name)
    return match["stem"] if match is not None else None


def segment_of(name: str) -> Segment | None:
    """Return the segment that a file of this name is, or None."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return Segment(
        created=match["created"],
        worker=int(match["worker"]),
        boot_id=match["boot_id"],
        number=int(match["number"]),
        closed=match["open"] is None,
        compressed=match["compressed"] is not None,
        encrypted=match["encrypted"] is not None,
    )


def list_segments(folder: str | os.PathLike[str]) -> list[Segment]:
    """Return a folder's segments, oldest name first, each once, in its newest form.

    Raises:
        OSError: the folder can't be read.
    """
    return list(newest_first(folder))[::-1]


def newest_first(folder: str | os.PathLike[str]) -> Iterator[Segment]:
    """Yield the same from the newest on, for who looks at few of very many."""
    for _, names in itertools.groupby(reversed(lookup.segment_names(folder)), key=_listed_stem):
        segment = newest_form(list(names))
        if segment is not None:
            yield segment


def names_by_stem(folder: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Return the names of a folder's files that may hold records, by their segments' stems.

    For who asks much of few: `newest_form` says which segment it is, or that it is none.

    Raises:
        OSError: the folder can't be read.
    """
    found: dict[str, list[str]] = {}
    for name in lookup.segment_names(folder):
        found.setdefault(_listed_stem(name), []).append(name)
    return found


def _listed_stem(name: str) -> str:
    # The first point stands in the time.
    return name[: name.index(".", _POINT_AT + 1)]


def newest_form(names: list[str]) -> Segment | None:
    """Return the segment that has these files, or None where they are no segment's.

    Of one that has two files, while one takes the place of the other, the later form: closed
    rather than open, compressed rather than not, encrypted rather than not. It is complete
    before it has its name.
    """
    forms = [segment for name in names if (segment := segment_of(name)) is not None]
    return max(forms, key=form_rank, default=None)


def origin_of(stem: str) -> tuple[str, str]:
    """Return which run of a monotonic clock `mono_ns` in a segment counts on, and its creation."""
    created, _, clock, _ = stem.split("-", 3) if stem.count("-") >= _DASHES else ("",) * 4
    return clock, created


def form_rank(segment: Segment) -> tuple[bool, bool, bool]:
    """Return what sorts the files of one segment, the one that has taken the others' place last."""
    return segment.closed, segment.compressed, segment.encrypted


def create_segment(
    folder: LogFolder, *, worker: int, boot_id: str, number: int, after: str | None = None
) -> tuple[int, Segment]:
    """Return a new empty segment, open for appending and locked by this process.

    `after` is the stem of the one before it in its worker slot. A slot's segments sort by name
    as they were written, also when the wall clock was set back.

    Raises:
        OSError: it can't be made.
    """
    if not _BOOT_ID.fullmatch(boot_id):
        raise ValueError("a boot_id consists of 1 to 64 letters, digits and hyphens")
    segment = Segment(
        created=_created(after),
        worker=worker,
        boot_id=boot_id,
        number=number,
        closed=False,
        encrypted=folder.keys is not None,
    )
    directory = folder.open_directory()
    try:
        fd = os.open(
            segment.name,
            # Readable too, so that records of a file deleted under us can be saved.
            os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC,
            0o600,
            dir_fd=directory,
        )
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            os.unlink(segment.name, dir_fd=directory)
            raise
    finally:
        os.close(directory)
    return fd, segment


def _created(after: str | None) -> str:
    now_us = time.time_ns() // 1000
    if after is not None:
        before = datetime.datetime.strptime(after[:22], "%Y%m%dT%H%M%S.%f").replace(
            tzinfo=datetime.UTC
        )
        now_us = max(now_us, round(before.timestamp() * 1e6) + 1)
    day = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now_us // 1_000_000))
    return f"{day}.{now_us % 1_000_000:06d}Z"


def close_segment(folder: LogFolder, segment: Segment, fd: int, size: int) -> None:
    """Give a finished segment its closed name, or remove an empty one; closes `fd`.

    Raises:
        OSError: it could not be renamed; it stays open by name and a later start closes it.
    """
    try:
        directory = folder.open_directory()
        try:
            if size:
                os.rename(
                    segment.name,
                    segment.as_closed().name,
                    src_dir_fd=directory,
                    dst_dir_fd=directory,
                )
            else:
                os.unlink(segment.name, dir_fd=directory)
        finally:
            os.close(directory)
    finally:
        os.close(fd)


def new_boot_id() -> str:
    """Return a boot_id for this process: `<clock>-<process>`.

    The first part names this run of the machine's monotonic clock, so that `mono_ns` of two
    records may be compared where it is equal; the second is random.
    """
    return f"{_clock_token()}-{os.urandom(6).hex()}"


def _clock_token() -> str:
    import hashlib  # noqa: PLC0415 - a start only

    try:
        run = Path("/proc/sys/kernel/random/boot_id").read_bytes()
        with contextlib.suppress(OSError):
            # A container may have a clock of its own.
            run += bytes(Path("/proc/self/ns/time").readlink())
    except OSError:
        run = _macos_boot_session() or os.urandom(16)
    return hashlib.blake2b(run, digest_size=4).hexdigest()


def _macos_boot_session() -> bytes:
    import ctypes  # noqa: PLC0415 - macOS only

    value = ctypes.create_string_buffer(64)
    size = ctypes.c_size_t(64)
    try:
        sysctl = ctypes.CDLL(None).sysctlbyname
    except (OSError, AttributeError):
        return b""
    if sysctl(b"kern.bootsessionuuid", value, ctypes.byref(size), None, ctypes.c_size_t(0)):
        return b""
    return value.value


def make_parents(path: str | os.PathLike[str]) -> None:
    """Make what the log folder is to stand in, and the keys beside it.

    Raises:
        StartError: it can't be made.
    """
    folder = Path(os.path.abspath(path))  # noqa: PTH100 - must not resolve links
    try:
        with contextlib.suppress(FileExistsError):
            folder.parent.mkdir(parents=True)
    except OSError as error:
        raise _not_writable(folder, error) from None


def _make_folder(path: Path) -> None:
    make_parents(path)
    try:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            raise StartError(
                f"The log folder {path} is a symbolic link; set IATP_LOG_DIR to the folder itself."
            )
        if not stat.S_ISDIR(found.st_mode):
            raise StartError(
                f"The log folder {path} is not a folder; set IATP_LOG_DIR to another path."
            )
        if found.st_uid != os.geteuid():
            raise StartError(
                f"The log folder {path} belongs to another user (uid {found.st_uid}); "
                "set IATP_LOG_DIR to a folder inside it, which will be made."
            )
        directory = _open_own_directory(path)
        try:
            if found.st_mode & 0o077:
                os.fchmod(directory, 0o700)
                _log.warning(
                    "The log folder %s was open to other users; its mode is now 0700.", path
                )
        finally:
            os.close(directory)
    except OSError as error:
        raise _not_writable(path, error) from None


def _open_own_directory(path: Path) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if os.fstat(fd).st_uid != os.geteuid():
        os.close(fd)
        raise PermissionError(errno.EPERM, "the folder belongs to another user", str(path))
    return fd


def _not_writable(path: Path, error: OSError) -> StartError:
    return StartError(
        f"The log folder {path} cannot be written ({error.strerror}); "
        "make it writable or set IATP_LOG_DIR to another folder."
    )


def _close_leftover(folder: LogFolder, segment: Segment, directory: int) -> Leftover | None:
    """Return what was closed, or None where a live writer holds it or it was empty."""
    try:
        fd = os.open(
            segment.name,
            os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK,
            dir_fd=directory,
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EMLINK, errno.EISDIR}:
            _log.warning(
                "%s in the log folder is not a segment file; it is left alone.", segment.name
            )
            return None
        raise
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        return recover(folder.path, directory, segment, fd, folder.signing_key, keys=folder.keys)
    finally:
        os.close(fd)
