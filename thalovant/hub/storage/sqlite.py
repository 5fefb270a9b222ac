"""Storage of a hub over restarts: its keys, certificates, clients and API records, in one SQLite file of one folder.

The file is 0600 in a folder of 0700 and locked as long as a hub uses it. An ephemeral hub has the same in memory.
"""

from __future__ import annotations

import datetime
import json
import os
import sqlite3
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from attrs import fields

from thalovant_proto.events import Generation
from thalovant_proto.secret import Secret

from ..._internal.secret_files import create_secret, private_parents
from ..errors import HubSetupError
from .clients import Client

FILE: Final = "hub.sqlite3"
#: A clock may step back this far (an adjustment, a restored suspend) before certificates and pins become doubtful.
CLOCK_TOLERANCE: Final = datetime.timedelta(hours=1)

#: What makes each version of the tables of the one before it. Older hubs refuse a newer version instead of guessing.
_VERSIONS: Final = (
    """
CREATE TABLE things (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE clients (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, access_key TEXT NOT NULL UNIQUE, password TEXT NOT NULL,
  crypto_key TEXT, site_id TEXT NOT NULL, generation INTEGER NOT NULL, allowed TEXT NOT NULL, admin INTEGER NOT NULL,
  can_escalate INTEGER NOT NULL, can_propagate INTEGER NOT NULL, can_broadcast INTEGER NOT NULL,
  psk BLOB, pinned BLOB, pubkey TEXT
);
""",
    """
CREATE TABLE records (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, id TEXT NOT NULL, owner TEXT, parent TEXT, ref TEXT,
  etag TEXT NOT NULL, created TEXT NOT NULL, updated TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (kind, id)
);
CREATE UNIQUE INDEX records_ref ON records (kind, ref);
CREATE INDEX records_owner ON records (kind, owner, seq);
CREATE INDEX records_parent ON records (kind, parent, seq);
""",
)
SCHEMA: Final = len(_VERSIONS)


def default_state_folder() -> Path:
    """The folder of a hub's state: under `$XDG_DATA_HOME`, on Windows `%LOCALAPPDATA%`, else under `~/.local/share`."""
    if configured := os.environ.get("XDG_DATA_HOME"):
        return Path(configured).expanduser() / "thalovant" / "hub"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "Thalovant" / "hub"
    with suppress(RuntimeError):
        return Path.home() / ".local" / "share" / "thalovant" / "hub"
    raise HubSetupError("This user has no home folder for the hub's state", setting="state")


def _error(folder: Path, what: str) -> HubSetupError:
    return HubSetupError(f"The hub's state in {folder} {what}", setting="state")


class Store:
    """The open state. Use it from one thread at a time; `close` it to let another hub have the folder."""

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        self._connection = connection
        self._folder = folder

    @classmethod
    def open(cls, folder: Path | None, *, now: datetime.datetime) -> Store:
        """Open the state in `folder`, made if it is missing; None keeps everything in memory.

        Raises `HubSetupError` if that cannot be, if another hub uses it, or if the clock is behind what it was.
        """
        where = folder or Path(":memory:")
        if folder is not None:
            _prepare(folder)
        with _reported(where), ExitStack() as undo:
            name = ":memory:" if folder is None else str(folder / FILE)
            connection = sqlite3.connect(name, timeout=0, isolation_level=None, check_same_thread=False)
            undo.callback(connection.close)
            state = cls(connection, where)
            state._lock()
            state._check_clock(now)
            undo.pop_all()
        return state

    def close(self, *, now: datetime.datetime) -> None:
        """Let go of the folder."""
        self.touch_clock(now)
        self._connection.close()

    # --- single things ---

    def get(self, name: str) -> bytes | None:
        """A named value, None if there is none."""
        row = self._connection.execute("SELECT value FROM things WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def put(self, **things: bytes) -> None:
        """Keep named values, all or none."""
        with self.transaction():
            for name, value in things.items():
                self._connection.execute("INSERT OR REPLACE INTO things VALUES (?, ?)", (name, value))

    # --- clients: a `ClientStore` ---

    def load(self) -> Iterable[Client]:
        """All clients, in the order of their registration."""
        with _reported(self._folder):
            rows = self._connection.execute(_LOAD).fetchall()
            return [_client(dict(zip(_COLUMNS, row, strict=True))) for row in rows]

    def save(self, client: Client) -> None:
        """Keep a new client, or the new state of a known one."""
        with self.transaction():
            self._connection.execute(_SAVE, _row(client))

    def remove(self, client: Client) -> None:
        """Forget a client."""
        with self.transaction():
            self._connection.execute("DELETE FROM clients WHERE id = ?", (client.id,))

    # --- everything else ---

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep all changes of the block or none; a block within it is a part of it. Raises `HubSetupError`."""
        if self._connection.in_transaction:
            yield
            return
        with _reported(self._folder), self._transaction():
            yield

    @property
    def changes(self) -> int:
        """The number of rows that were changed until now."""
        return self._connection.total_changes

    def execute(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows that a statement gives."""
        with _reported(self._folder):
            return self._connection.execute(sql, values).fetchall()

    # --- inside ---

    def _lock(self) -> None:
        execute = self._connection.execute
        # Held from the first access to the end of the process, however that comes.
        execute("PRAGMA locking_mode = EXCLUSIVE")
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = NORMAL")
        with self._transaction("EXCLUSIVE"):
            version = execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA:
                raise _error(self._folder, "was written by a newer version of thalovant")
            for statement in ";".join(_VERSIONS[version:]).split(";"):
                execute(statement)
            execute(f"PRAGMA user_version = {SCHEMA}")

    def _check_clock(self, now: datetime.datetime) -> None:
        seen = self.get("last_seen")
        if seen is not None:
            before = datetime.datetime.fromisoformat(seen.decode())
            if now < before - CLOCK_TOLERANCE:
                raise _error(
                    self._folder,
                    f"was used at {before:%Y-%m-%d %H:%M} UTC, and this machine's clock says {now:%Y-%m-%d %H:%M} UTC: "
                    "it was set back; set it right, or start with another state",
                )
        self.touch_clock(now)

    def touch_clock(self, now: datetime.datetime) -> None:
        """Remember what time it was, to notice a clock that is set back."""
        self.put(last_seen=now.isoformat().encode())

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        self._connection.execute(f"BEGIN {kind}")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # SQLite itself rolls back where the disk is full
                self._connection.execute("ROLLBACK")
            raise


def _prepare(folder: Path) -> None:
    """Make folder and file where they are missing, for nobody but us; refuse a file that others may read."""
    path = folder / FILE
    try:
        private_parents(path)
        # Never opened here: closing it would drop the locks of a hub in this very process (fcntl(2)).
        if create_secret(path, b""):
            return
        status = path.lstat()
    except OSError as error:
        raise _error(folder, f"cannot be written: {error.strerror or error}") from None
    if not stat.S_ISREG(status.st_mode):
        raise _error(folder, f"cannot be used: {FILE} there is no plain file")
    if os.name == "posix" and status.st_mode & 0o077:
        raise _error(folder, f"may be read by others; run `chmod 600 {path}`")


@contextmanager
def _reported(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise _error(folder, "is in use by another hub") from None
        if "readonly" in str(error):
            raise _error(folder, "cannot be written: it is read-only") from None
        raise _error(folder, f"cannot be used: {error}") from None
    except sqlite3.DatabaseError as error:
        if type(error) is sqlite3.DatabaseError:  # its children tell of our own mistakes
            raise _error(folder, f"is damaged: {error}") from None
        raise


_COLUMNS: Final = tuple(column.name for column in fields(Client))
_SECRETS: Final = ("access_key", "password", "crypto_key", "psk")
_FLAGS: Final = ("admin", "can_escalate", "can_propagate", "can_broadcast")
_LOAD: Final = f"SELECT {', '.join(_COLUMNS)} FROM clients ORDER BY id"  # noqa: S608 - constants
_SAVE: Final = (
    f"INSERT INTO clients ({', '.join(_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _COLUMNS)}) "  # noqa: S608
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = :{name}' for name in _COLUMNS)}"
)


def _row(client: Client) -> dict[str, Any]:
    row = {name: getattr(client, name) for name in _COLUMNS}
    for name in _SECRETS:
        row[name] = row[name] and row[name].reveal()
    return {**row, "generation": int(client.generation), "allowed": json.dumps(client.allowed)}


def _client(row: dict[str, Any]) -> Client:
    for name in _SECRETS:
        row[name] = row[name] and Secret(row[name])
    for name in _FLAGS:
        row[name] = bool(row[name])
    given = {"generation": Generation(row["generation"]), "allowed": tuple(json.loads(row["allowed"]))}
    return Client(**{**row, **given})
