"""The flight recorder's folder: its lock, the names of its segments, and their removal.

One sidecar owns a folder: the supervisor holds `flock` on the file `lock` in it, its workers
inherit the lock, and it goes with the last of them. A segment that is being written ends in
`.open.jsonl` and is locked by its writer; at close it is renamed to `.jsonl`. So what may be
pruned shows in the name, and whether a writer still lives shows in the lock, not in a pid.

Nothing here is on the hot path.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from iatp.adapters.encryption import LogKeys
from iatp.values.errors import StartError

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
_TEMPORARY = re.compile(rf"(?:{_STEM}|head\.json)(?:\.[A-Za-z0-9]+)*\.tmp")
_BOOT_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_TAIL_BLOCK = 1 << 16
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

    @property
    def clock(self) -> str:
        """Which run of a monotonic clock `mono_ns` in this segment counts on."""
        return self.boot_id.partition("-")[0]

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


class Leftover(msgspec.Struct, frozen=True, kw_only=True):
    """A segment whose writer died, closed now by its successor."""

    name: str
    size: int
    torn_bytes: int
    """Bytes behind the last whole record: a write that was cut off. Readers skip them."""

    def __str__(self) -> str:
        if not self.torn_bytes:
            return f"Closed segment {self.name}, whose writer had died; it is whole."
        return (
            f"Closed segment {self.name}, whose writer had died; its last {self.torn_bytes} "
            "bytes are a record cut off in writing and are skipped."
        )


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """A closed segment that retention removed."""

    name: str
    size: int
    reason: str
    """`age` or `size`."""


class LogFolder:
    """The folder, made if absent, locked by this sidecar until `close` or its last process ends.

    Raises:
        StartError: a symbolic link, of another user, not writable, or in use by another sidecar.
    """

    def __init__(self, path: str | os.PathLike[str], *, keys: LogKeys | None = None) -> None:
        """Take the keys of the log; None: it is not encrypted."""
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
            self.leftovers = self.close_leftovers()
            """Segments that an earlier sidecar left open."""
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
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
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

        A segment that is still locked by its writer is left alone, so this may run while
        other workers write. Empty ones are removed.

        Raises:
            OSError: the folder can't be read or changed.
        """
        closed = []
        directory = self.open_directory()
        try:
            for segment in self.segments():
                if segment.closed or worker not in {None, segment.worker}:
                    continue
                leftover = _close_leftover(segment, directory)
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

    def prune(self, max_bytes: int, max_age_s: float, now: float | None = None) -> list[Pruned]:
        """Remove closed segments that are too old, then the oldest while all are too big.

        Age and order go by the last write. Open segments count for the size and are never
        removed. `now` is Unix time.

        Raises:
            OSError: the folder can't be read or changed.
        """
        now = time.time() if now is None else now
        directory = self.open_directory()
        try:
            self._keep_lock()
            total = 0
            closed: list[tuple[float, str, int]] = []
            for segment in self.segments():
                try:
                    found = os.stat(segment.name, dir_fd=directory, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                total += found.st_size
                if segment.closed:
                    closed.append((found.st_mtime, segment.name, found.st_size))
            pruned = []
            for mtime, name, size in sorted(closed):
                too_old = mtime < now - max_age_s
                if not too_old and total <= max_bytes:
                    continue
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=directory)
                    pruned.append(Pruned(name=name, size=size, reason="age" if too_old else "size"))
                total -= size
            return pruned
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
    """Return a folder's segments, oldest name first, each once.

    Of one that has two files, while one takes the place of the other, the later form: closed
    rather than open, compressed rather than not, encrypted rather than not. It is complete
    before it has its name. Listed twice, since a listing can miss a file that is renamed while
    it runs.

    Raises:
        OSError: the folder can't be read.
    """
    found: dict[str, Segment] = {}
    for name in [*os.listdir(folder), *os.listdir(folder)]:  # noqa: PTH208 - names are wanted
        segment = segment_of(name)
        if segment is None:
            continue
        other = found.get(segment.stem)
        if other is None or form_rank(segment) > form_rank(other):
            found[segment.stem] = segment
    return [found[stem] for stem in sorted(found)]


def form_rank(segment: Segment) -> tuple[bool, bool, bool]:
    """Return what sorts the files of one segment, the one that has taken the others' place last."""
    return segment.closed, segment.compressed, segment.encrypted


def create_segment(
    folder: LogFolder, *, worker: int, boot_id: str, number: int
) -> tuple[int, Segment]:
    """Return a new empty segment, open for appending and locked by this process.

    Raises:
        OSError: it can't be made.
    """
    if not _BOOT_ID.fullmatch(boot_id):
        raise ValueError("a boot_id consists of 1 to 64 letters, digits and hyphens")
    now_ns = time.time_ns()
    day = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now_ns // 1_000_000_000))
    segment = Segment(
        created=f"{day}.{now_ns // 1000 % 1_000_000:06d}Z",
        worker=worker,
        boot_id=boot_id,
        number=number,
        closed=False,
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


def _make_folder(path: Path) -> None:
    try:
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir(parents=True)
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


def _close_leftover(segment: Segment, directory: int) -> Leftover | None:
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
        size = os.fstat(fd).st_size
        if size == 0:
            os.unlink(segment.name, dir_fd=directory)
            return None
        name = segment.as_closed().name
        os.rename(segment.name, name, src_dir_fd=directory, dst_dir_fd=directory)
        return Leftover(name=name, size=size, torn_bytes=_torn_bytes(fd, size))
    finally:
        os.close(fd)


def _torn_bytes(fd: int, size: int) -> int:
    """Return how many bytes stand behind the last line end."""
    end = size
    for block, start in _blocks_backwards(fd, size):
        found = block.rfind(b"\n")
        if found >= 0:
            return size - (start + found + 1)
        end = start
    return size - end


def _blocks_backwards(fd: int, size: int) -> Iterator[tuple[bytes, int]]:
    end = size
    while end > 0:
        start = max(0, end - _TAIL_BLOCK)
        yield os.pread(fd, end - start, start), start
        end = start
