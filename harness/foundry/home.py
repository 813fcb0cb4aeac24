"""What a Foundry Local of the gate's own stands on: a folder nobody else uses, and an address nobody answers."""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from harness.errors import DeployError

_HOME_LOCK_S: Final = 30.0
"""How long to wait while another process makes its folder in the same home."""


class OwnFolder:
    """A new folder under `home`, locked while it is in use; the folders of dead processes there are removed.

    Raises:
        DeployError: `home` cannot be written to.
    """

    def __init__(self, home: Path) -> None:
        try:
            home.mkdir(parents=True, exist_ok=True)
            with FileLock(home / "home.lock", timeout=_HOME_LOCK_S):
                _remove_dead(home)
                self.path = Path(tempfile.mkdtemp(prefix="host-", dir=home))
                self._lock = _lock_of(self.path)
                self._lock.acquire(timeout=0)
        except (OSError, Timeout) as error:
            raise DeployError(
                f"Foundry Local's home cannot be used: {error}",
                where=str(home),
                next_step="give a folder that can be written to",
            ) from error

    def remove(self) -> None:
        """Remove the folder and let go of it."""
        _remove(self.path, self._lock)


def refusing_socket() -> socket.socket:
    """A bound loopback port that nobody listens on: a connection to it is refused at once, by whoever asks."""
    refusing = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    refusing.bind(("127.0.0.1", 0))
    return refusing


def _remove_dead(home: Path) -> None:
    for folder in home.glob("host-*/"):
        lock = _lock_of(folder)
        try:
            lock.acquire(timeout=0)
        except (OSError, Timeout):
            continue  # its process lives
        _remove(folder, lock)


def _remove(folder: Path, lock: FileLock) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()
    Path(lock.lock_file).unlink(missing_ok=True)


def _lock_of(folder: Path) -> FileLock:
    return FileLock(folder.with_name(f"{folder.name}.lock"), thread_local=False)
