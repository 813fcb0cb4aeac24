"""SHA-256 of files, of folders and of values: the names by which everything is cached."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def sha256_of(file: Path) -> str:
    """Hex SHA-256 of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """Hex SHA-256 of a JSON-able value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def digests_of(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    """Hex SHA-256 of each file, by its name below `folder`."""
    return {file.relative_to(folder).as_posix(): sha256_of(file) for file in files}


def digest_of_files(digests: Mapping[str, str]) -> str:
    """One hex SHA-256 over names and digests, in the order of the names."""
    lines = (f"{name}\0{digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def digest_files(folder: Path, files: Iterable[Path]) -> str:
    """One hex SHA-256 over the names and contents of files."""
    return digest_of_files(digests_of(folder, files))
