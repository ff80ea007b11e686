"""The embedded store: one SQLite database in a folder that one process has to itself.

What was acknowledged survives the death of any process. With `synchronous="normal"` a loss of power may cost the last
moments, with `"full"` nothing.

Values of inputs are blobs by digest, each kept once a tenant: a step of a solver writes what has changed, not the
weights beside it. A blob goes with the last point that names it.
"""

import asyncio
import fcntl
import functools
import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, final

import numpy as np

from service import errors
from service.stores.base import GraphRecord, SessionRecord
from service.tensors.dtypes import DTYPES, dtype_of

P = ParamSpec("P")
T = TypeVar("T")

DATABASE = "store.sqlite3"
LOCK = "lock"

MIGRATIONS = (
    """
    CREATE TABLE graphs (
        tenant TEXT NOT NULL, graph_id TEXT NOT NULL, model BLOB NOT NULL, info BLOB NOT NULL,
        PRIMARY KEY (tenant, graph_id)
    ) STRICT;
    CREATE TABLE sessions (
        tenant TEXT NOT NULL, id TEXT NOT NULL, spec BLOB NOT NULL, revision INTEGER NOT NULL, outputs BLOB NOT NULL,
        created_at REAL NOT NULL, expires_at REAL NOT NULL, ttl REAL NOT NULL,
        PRIMARY KEY (tenant, id)
    ) STRICT;
    CREATE INDEX sessions_by_age ON sessions (tenant, created_at, id);
    CREATE INDEX sessions_by_expiry ON sessions (expires_at);
    CREATE TABLE blobs (
        tenant TEXT NOT NULL, digest BLOB NOT NULL, content BLOB NOT NULL,
        PRIMARY KEY (tenant, digest)
    ) STRICT;
    CREATE TABLE inputs (
        tenant TEXT NOT NULL, session TEXT NOT NULL, revision INTEGER NOT NULL, position INTEGER NOT NULL,
        name TEXT NOT NULL, dtype TEXT NOT NULL, shape TEXT NOT NULL, digest BLOB NOT NULL,
        PRIMARY KEY (tenant, session, revision, position),
        FOREIGN KEY (tenant, session) REFERENCES sessions (tenant, id) ON DELETE CASCADE,
        FOREIGN KEY (tenant, digest) REFERENCES blobs (tenant, digest)
    ) STRICT;
    CREATE INDEX inputs_by_blob ON inputs (tenant, digest);
    CREATE TRIGGER forget_blob AFTER DELETE ON inputs
    WHEN NOT EXISTS (SELECT 1 FROM inputs WHERE tenant = old.tenant AND digest = old.digest)
    BEGIN
        DELETE FROM blobs WHERE tenant = old.tenant AND digest = old.digest;
    END;
    """,
)
"""What leads from each version of the schema (`user_version`) to the next."""

SESSION = "SELECT tenant, id, spec, revision, outputs, created_at, expires_at, ttl FROM sessions"


class StoreUnusable(Exception):
    """The folder cannot serve as a store; the text is for whoever starts the server."""


def _on_its_thread(
    verb: Callable[Concatenate["SQLiteStore", P], T],
) -> Callable[Concatenate["SQLiteStore", P], Coroutine[Any, Any, T]]:
    """A coroutine of a verb that is written to block."""

    @functools.wraps(verb)
    async def run(self: "SQLiteStore", /, *args: P.args, **kwargs: P.kwargs) -> T:
        work = functools.partial(verb, self, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    return run


@final
class SQLiteStore:
    """A `Store` in one folder. All verbs run on one thread of its own, in the order in which they were called."""

    def __init__(self, database: sqlite3.Connection, lock: int) -> None:
        self._database = database
        self._lock = lock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")

    @classmethod
    def open(cls, folder: Path, synchronous: Literal["normal", "full"] = "normal") -> "SQLiteStore":
        """Open the store in a folder, which is made if need be.

        Raises:
            StoreUnusable: another process has it open, the database is damaged or of a later version, or the folder
                cannot be written to.
        """
        lock = _lock(folder)
        try:
            return cls(_connect(folder / DATABASE, synchronous), lock)
        except BaseException:
            os.close(lock)
            raise

    @_on_its_thread
    def put_graph(self, tenant: str, graph: GraphRecord) -> bool:
        """Keep a graph. Returns: False where it was there already."""
        row = (tenant, graph.graph_id, graph.model, graph.info)
        return self._execute("INSERT INTO graphs VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", row).rowcount == 1

    @_on_its_thread
    def get_graph(self, tenant: str, graph_id: str) -> GraphRecord | None:
        """A graph, None where there is none."""
        query = "SELECT graph_id, model, info FROM graphs WHERE tenant = ? AND graph_id = ?"
        row = self._execute(query, (tenant, graph_id)).fetchone()
        return row and GraphRecord(*row)

    @_on_its_thread
    def create(self, session: SessionRecord) -> None:
        """Keep a new session.

        Raises:
            TooLarge: an input has more bytes than the database takes in one piece.
        """
        s = session
        row = (s.tenant, s.id, s.spec, s.revision, s.outputs, s.created_at, s.expires_at, s.ttl)
        with self._database:
            self._execute("BEGIN IMMEDIATE")
            self._execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            self._put_inputs(s.tenant, s.id, s.revision, s.inputs)

    @_on_its_thread
    def get(self, tenant: str, session_id: str) -> SessionRecord | None:
        """A session, expired or not; None where there is none."""
        row = self._execute(f"{SESSION} WHERE tenant = ? AND id = ?", (tenant, session_id)).fetchone()
        return row and self._record(row)

    @_on_its_thread
    def advance(
        self,
        tenant: str,
        session_id: str,
        if_revision: int,
        inputs: Mapping[str, np.ndarray],
        outputs: bytes,
        expires_at: float,
    ) -> bool:
        """Compare and set: the next revision, with new values for all inputs; the expiry is pushed on, never back.

        Returns:
            False, and nothing is changed, where the session is not at `if_revision` (or gone).

        Raises:
            TooLarge: an input has more bytes than the database takes in one piece.
        """
        passed = (tenant, session_id, if_revision)
        with self._database:
            self._execute("BEGIN IMMEDIATE")
            advanced = self._execute(
                "UPDATE sessions SET revision = revision + 1, outputs = ?, expires_at = max(expires_at, ?)"
                " WHERE tenant = ? AND id = ? AND revision = ?",
                (outputs, expires_at, *passed),
            )
            if advanced.rowcount == 1:
                self._put_inputs(tenant, session_id, if_revision + 1, inputs)
                self._execute("DELETE FROM inputs WHERE tenant = ? AND session = ? AND revision = ?", passed)
        return advanced.rowcount == 1

    @_on_its_thread
    def touch(self, tenant: str, session_id: str, expires_at: float) -> None:
        """Push the expiry on; never back."""
        self._execute(
            "UPDATE sessions SET expires_at = ? WHERE tenant = ? AND id = ? AND expires_at < ?",
            (expires_at, tenant, session_id, expires_at),
        )

    @_on_its_thread
    def delete(self, tenant: str, session_id: str) -> bool:
        """Forget a session. Returns: False where there was none."""
        return self._execute("DELETE FROM sessions WHERE tenant = ? AND id = ?", (tenant, session_id)).rowcount == 1

    @_on_its_thread
    def list(self, tenant: str, now: float, limit: int, before: tuple[float, str] | None) -> Sequence[SessionRecord]:
        """Live sessions, newest first: those whose `(created_at, id)` is less than `before`, at most `limit`."""
        older = "" if before is None else "AND (created_at, id) < (?, ?)"
        rows = self._execute(
            f"{SESSION} WHERE tenant = ? AND expires_at > ? {older} ORDER BY created_at DESC, id DESC LIMIT ?",
            (tenant, now, *(before or ()), limit),
        ).fetchall()
        return [self._record(row) for row in rows]

    @_on_its_thread
    def purge(self, expired_before: float) -> int:
        """Forget the sessions of all tenants that expired before then. Returns: how many."""
        return self._execute("DELETE FROM sessions WHERE expires_at < ?", (expired_before,)).rowcount

    async def close(self) -> None:
        """Finish what was begun and let go of the files."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._database.close)
        self._thread.shutdown()
        os.close(self._lock)

    def _execute(self, statement: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        return self._database.execute(statement, values)

    def _record(self, row: tuple[str, str, bytes, int, bytes, float, float, float]) -> SessionRecord:
        tenant, session_id, spec, revision, outputs, created_at, expires_at, ttl = row
        inputs = self._execute(
            "SELECT name, dtype, shape, content FROM inputs JOIN blobs USING (tenant, digest)"
            " WHERE tenant = ? AND session = ? AND revision = ? ORDER BY position",
            (tenant, session_id, revision),
        )
        arrays = {n: np.frombuffer(c, DTYPES[d].numpy).reshape(json.loads(s)) for n, d, s, c in inputs}
        return SessionRecord(session_id, tenant, spec, revision, arrays, outputs, created_at, expires_at, ttl)

    def _put_inputs(self, tenant: str, session_id: str, revision: int, inputs: Mapping[str, np.ndarray]) -> None:
        most = self._database.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)
        for position, (name, array) in enumerate(inputs.items()):
            if array.nbytes > most:
                raise errors.TooLarge(f"the input {name!r} has {array.nbytes} bytes; the store keeps at most {most}")
            content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
            digest = hashlib.blake2b(content, digest_size=32).digest()
            self._execute("INSERT INTO blobs VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (tenant, digest, content))
            self._execute(
                "INSERT INTO inputs VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (tenant, session_id, revision, position, name, dtype_of(array).name, json.dumps(array.shape), digest),
            )


# --- opening ---------------------------------------------------------------------------------------------------------


def _lock(folder: Path) -> int:
    """The descriptor that holds the folder's lock until it is closed, by the death of the process if need be."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as fault:
        raise StoreUnusable(f"{folder} cannot hold a store: {fault.strerror}") from fault
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as fault:
        os.close(descriptor)
        raise StoreUnusable(
            f"another server has the store in {folder} open; give each server a folder of its own"
        ) from fault
    return descriptor


def _connect(path: Path, synchronous: str) -> sqlite3.Connection:
    try:
        database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            _prepare(database, path, synchronous)
        except BaseException:
            database.close()
            raise
    except sqlite3.DatabaseError as fault:
        raise StoreUnusable(f"{path} cannot be read as a store: {fault}") from fault
    return database


def _prepare(database: sqlite3.Connection, path: Path, synchronous: str) -> None:
    ((sound,),) = database.execute("PRAGMA quick_check(1)")
    if sound != "ok":
        raise StoreUnusable(f"{path} is damaged: {sound}")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute(f"PRAGMA synchronous = {synchronous}")
    database.execute("PRAGMA foreign_keys = ON")
    ((version,),) = database.execute("PRAGMA user_version")
    if version > len(MIGRATIONS):
        raise StoreUnusable(f"{path} has schema {version}; this version of the service knows {len(MIGRATIONS)} at most")
    for number, migration in enumerate(MIGRATIONS[version:], version + 1):
        database.executescript(f"BEGIN; {migration} PRAGMA user_version = {number}; COMMIT;")
