"""Locks between processes that build the same folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


def lock_for(folder: Path) -> FileLock:
    """The lock of a folder: a file beside it, for everyone who may write there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.with_name(f"{folder.name}.lock"), mode=folder.parent.stat().st_mode & 0o666)


@contextmanager
def locked(folder: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold a folder's lock; `on_wait` is called before waiting for another process."""
    lock = lock_for(folder)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
