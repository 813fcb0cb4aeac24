"""What the system refuses is told in words, with the way out."""

import errno
import os
from pathlib import Path

import pytest

from harness.errors import FileError, SourceError, as_user_error


@pytest.mark.parametrize(
    ("number", "what", "next_step"),
    [
        (errno.ENOSPC, "the disk is full, or a limit is reached: No space left on device", "free some space"),
        (errno.EFBIG, "a limit is reached: File too large", "lift the limit"),
        (errno.EACCES, "a file cannot be read or written: Permission denied", "who may use it"),
        (errno.EROFS, "Read-only file system", "another folder"),
        (errno.ENOENT, "No such file or directory", "see what is there"),
    ],
)
def test_what_the_system_refused_is_told_with_the_way_out(number, what, next_step):
    told = FileError.of(OSError(number, os.strerror(number), "/some/file"))
    assert what in told.what
    assert told.where == "/some/file"
    assert next_step in told.next_step


def test_the_place_is_told_where_the_error_does_not():
    assert FileError.of(OSError(errno.EIO, "Input/output error"), Path("cache")).where == "cache"
    assert FileError.of(OSError("odd")).where is None


def test_only_errors_for_the_user_are_shown_without_a_traceback():
    ours = SourceError("no model")
    assert as_user_error(ours) is ours
    assert isinstance(as_user_error(PermissionError(errno.EACCES, "Permission denied", "x")), FileError)
    others = (
        ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
        TimeoutError("late"),
        OSError("odd"),
        KeyError("x"),
    )
    assert [as_user_error(error) for error in others] == [None] * len(others)
