"""What the workers of a sidecar must agree on: used tickets and quarantine sessions.

SQLite in write-ahead mode, one connection per process, opened at first use: a sidecar that
never sees an override never loads it. What was granted survives `kill -9` of any process
(`synchronous=NORMAL`); a power cut may forget the last moments, but never corrupts it.

Calls block for a write to disk or for another process; the caller runs them in a thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec

from iatp.values.errors import StartError
from iatp.values.exchange import Claim, Grant

if TYPE_CHECKING:
    import sqlite3

SESSION_MAX_AGE_S = 30 * 86_400
"""As long as the flight record keeps the same request by default."""
MAX_SESSIONS = 100_000
"""Some 50 MB: callers who confirm for themselves must not fill the disk."""

_BUSY_TIMEOUT_S = 5.0
_CACHE_KIB = 256
"""SQLite's default of 2,000 fills up with the first 5,000 sessions and is no faster: with 100,000
stored a claim takes 40 µs either way, since the system has the file's pages."""
_MAGIC = b"SQLite format 3\x00"
_SCHEMA_VERSION = 1
_SCHEMA = (
    "CREATE TABLE used_tickets (ticket_id TEXT PRIMARY KEY, expires_s INTEGER NOT NULL)"
    " WITHOUT ROWID",
    "CREATE INDEX used_tickets_by_expiry ON used_tickets (expires_s)",
    "CREATE TABLE manifests (digest BLOB PRIMARY KEY, document BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE sessions ("
    " id INTEGER PRIMARY KEY, trace_id TEXT NOT NULL, session_id TEXT NOT NULL,"
    " warning TEXT NOT NULL, trust_score INTEGER NOT NULL, time_ns INTEGER NOT NULL,"
    " manifest BLOB NOT NULL)",
    "CREATE INDEX sessions_by_trace ON sessions (trace_id)",
    "CREATE INDEX sessions_by_time ON sessions (time_ns)",
    f"PRAGMA user_version = {_SCHEMA_VERSION}",
)


class StateUnavailable(Exception):  # noqa: N818 - a condition, and named so in the answers
    """The control state can't be read or written now; one sentence."""


class ControlState:
    """The control state in one file, shared by all processes that open the same path."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self._inode = (0, 0)

    def check(self) -> None:
        """Check at start that the file, if there is one, can be ours; loads nothing.

        Raises:
            StartError: it is not a database, not ours, or a link.
        """
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return
        except OSError as error:
            raise StartError(self._unusable(error.strerror or "unreadable")) from None
        if not stat.S_ISREG(found.st_mode):
            raise StartError(self._unusable("it is not a regular file"))
        if found.st_uid != os.geteuid():
            raise StartError(self._unusable(f"it belongs to another user, uid {found.st_uid}"))
        try:
            with self.path.open("rb") as file:
                head = file.read(len(_MAGIC))
        except OSError as error:
            raise StartError(self._unusable(error.strerror or "unreadable")) from None
        # An empty file is a database that was never written.
        if head not in {b"", _MAGIC}:
            raise StartError(self._unusable("it is not a database"))

    def claim(self, claim: Claim, manifest_json: bytes) -> Grant:
        """Use up the claim's ticket, if it has one, and store its quarantine session.

        Of all processes that claim one ticket, one is granted.

        Raises:
            StateUnavailable: nothing was stored.
        """
        import hashlib  # noqa: PLC0415 - with the first override

        digest = hashlib.blake2b(manifest_json, digest_size=16).digest()
        with self._transaction() as connection:
            if claim.ticket_id:
                used = connection.execute(
                    "INSERT OR IGNORE INTO used_tickets VALUES (?, ?)",
                    (claim.ticket_id, claim.expires_s),
                )
                if used.rowcount != 1:
                    return Grant(granted=False, session_id=claim.session_id)
            connection.execute(
                "INSERT OR IGNORE INTO manifests VALUES (?, ?)", (digest, manifest_json)
            )
            connection.execute(
                "INSERT INTO sessions (trace_id, session_id, warning, trust_score, time_ns,"
                " manifest) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    claim.trace_id,
                    claim.session_id,
                    claim.warning,
                    claim.trust_score,
                    claim.time_ns,
                    digest,
                ),
            )
        return Grant(granted=True, session_id=claim.session_id)

    def quarantine(self, trace_id: str) -> dict[str, Any] | None:
        """Return the latest quarantine session of a trace as protocol section 1 shows it.

        Raises:
            StateUnavailable: it can't be read.
        """
        with self._connected() as connection:
            row = connection.execute(
                "SELECT session_id, warning, time_ns, document FROM sessions"
                " JOIN manifests ON digest = manifest WHERE trace_id = ?"
                " ORDER BY sessions.id DESC LIMIT 1",
                (trace_id,),
            ).fetchone()
        if row is None:
            return None
        session_id, warning, time_ns, document = row
        return {
            "session_id": session_id,
            "trace_id": trace_id,
            "warning_message": warning,
            "user_override": True,
            "timestamp": _timestamp(time_ns),
            "manifest": msgspec.json.decode(document),
        }

    def prune(
        self,
        now: float | None = None,
        *,
        max_age_s: float = SESSION_MAX_AGE_S,
        max_sessions: int = MAX_SESSIONS,
    ) -> int:
        """Forget expired tickets and old sessions; return how many rows went. `now` is Unix time.

        Does nothing, and loads nothing, as long as there is no file.

        Raises:
            StateUnavailable: nothing was removed.
        """
        if not self.path.exists():
            return 0
        now = time.time() if now is None else now
        with self._transaction() as connection:
            removed = connection.execute(
                "DELETE FROM used_tickets WHERE expires_s < ?", (int(now),)
            ).rowcount
            sessions = connection.execute(
                "DELETE FROM sessions WHERE time_ns < ? OR id <="
                " (SELECT id FROM sessions ORDER BY id DESC LIMIT 1 OFFSET ?)",
                (int((now - max_age_s) * 1e9), max_sessions),
            ).rowcount
            if sessions:
                connection.execute(
                    "DELETE FROM manifests WHERE digest NOT IN (SELECT manifest FROM sessions)"
                )
        return int(removed) + int(sessions)

    def close(self) -> None:
        """Close this process's connection; the next call opens a new one."""
        with self._lock:
            self._disconnect()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connected() as connection:
            # Takes the write lock at once: a transaction that read first could not wait for it.
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back by itself where the disk failed.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        import sqlite3  # noqa: PLC0415 - 1 MB that a sidecar without overrides never needs

        with self._lock:
            try:
                self._drop_stale()
                if self._connection is None:
                    self._connect(sqlite3)
                assert self._connection is not None  # noqa: S101 - for the type checker
                yield self._connection
            except (sqlite3.Error, OSError) as error:
                self._disconnect()
                raise StateUnavailable(self._unusable(str(error))) from error

    def _drop_stale(self) -> None:
        """Forget a connection from before a fork, or to a file that was replaced."""
        if self._connection is None:
            return
        if self._pid != os.getpid():
            # Closing it here could remove the write-ahead log under its owner.
            _of_parent.append(self._connection)
            self._connection = None
            return
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._disconnect()
            return
        if (found.st_dev, found.st_ino) != self._inode:
            self._disconnect()

    def _connect(self, sqlite: ModuleType) -> None:
        with contextlib.suppress(FileExistsError):
            # SQLite gives the files beside it the mode that this one has.
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(self.path, flags, 0o600))
        found = self.path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "it is a link or belongs to another user")
        connection = sqlite.connect(
            self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            _prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._pid = os.getpid()
        self._inode = (found.st_dev, found.st_ino)

    def _disconnect(self) -> None:
        if self._connection is not None and self._pid == os.getpid():
            self._connection.close()
        self._connection = None

    def _unusable(self, why: str) -> str:
        return (
            f"The control state {self.path} cannot be used ({why}); "
            "move the file away to begin with an empty one."
        )


_of_parent: list[object] = []


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    if connection.execute("PRAGMA user_version").fetchone()[0] == _SCHEMA_VERSION:
        return
    _switch_to_wal(connection)
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been first.
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            for statement in _SCHEMA:
                connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    if version not in {0, _SCHEMA_VERSION}:
        raise OSError(errno.EINVAL, f"it is of version {version}, made by a newer sidecar")


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Switch the file's journal mode; SQLite does not wait here for another who does the same."""
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except Exception as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _timestamp(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, 1_000_000_000)
    day = datetime.fromtimestamp(seconds, UTC)
    return f"{day:%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"
