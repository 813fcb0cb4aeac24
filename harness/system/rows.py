"""Rows that are kept one by one as they come: what a run has asked is not asked again, even if it was killed.

SQLite keeps each row whole or not at all, whatever happens to the process.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.errors import FileError

_WAIT_S = 60.0
"""How long a row waits for another process that writes."""


class KeptRows:
    """JSON values by key in one file, shared by processes.

    Raises:
        FileError: the file cannot be read or written.
    """

    def __init__(self, file: Path, *, fresh: bool = False) -> None:
        """With `fresh` nothing that was kept before is given out; new rows replace it."""
        self._file, self._fresh, self._own = file, fresh, set[str]()
        file.parent.mkdir(parents=True, exist_ok=True)
        self._connection = self._opened()

    def get(self, key: str) -> Any | None:
        """The kept value; None where there is none."""
        if self._fresh and key not in self._own:
            return None
        with self._told():
            row = self._connection.execute("SELECT value FROM rows WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def put(self, key: str, value: Any) -> None:
        """Keep a value; when this returns, killing the process does not lose it."""
        row = (key, json.dumps(value), datetime.now(UTC).isoformat(timespec="seconds"))
        with self._told():
            self._connection.execute("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", row)
        self._own.add(key)

    def kept_at(self, key: str) -> str | None:
        """When a row was kept, ISO 8601 in UTC; None where there is none."""
        with self._told():
            row = self._connection.execute("SELECT kept_at FROM rows WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else None

    def _opened(self) -> sqlite3.Connection:
        try:
            return self._connected()
        except sqlite3.DatabaseError:
            # A damaged file is no reason to stop: what it held is asked again.
            self._file.unlink(missing_ok=True)
        with self._told():
            return self._connected()

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._file, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
        # A killed process loses no row so; only a machine that loses its power may, and then the last ones.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, value TEXT, kept_at TEXT)")
        return connection

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise FileError(
                f"what was measured cannot be kept: {error}",
                where=str(self._file),
                next_step="free some space or use another cache folder; a damaged file may be removed",
            ) from error
