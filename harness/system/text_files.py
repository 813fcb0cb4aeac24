"""Reads text files as editors on every system leave them."""

from __future__ import annotations

import codecs
import gzip
import zlib
from pathlib import Path

from harness.errors import GateError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_OTHER_FORMATS = {
    b"PK\x03\x04": ("a ZIP archive or an Excel workbook", "unpack it, or save the sheet as CSV UTF-8"),
    b"PAR1": (
        "a Parquet file",
        "write it as JSON Lines: pandas.read_parquet(FILE).to_json(OUT, orient='records', lines=True)",
    ),
    b"ARROW1": ("an Arrow file", "write it as JSON Lines: datasets.Dataset.from_file(FILE).to_json(OUT)"),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", "unpack it first: zstd -d FILE"),
    b"BZh": ("compressed with bzip2", "unpack it first: bunzip2 FILE"),
    b"\xfd7zXZ\x00": ("compressed with xz", "unpack it first: unxz FILE"),
    b"%PDF": ("a PDF", "give the questions and answers as JSON Lines or CSV"),
    b"SQLite format 3": ("a SQLite database", "export the table as CSV"),
    b"\xd0\xcf\x11\xe0": ("an old Excel or Word file", "save the sheet as CSV UTF-8"),
}


def read_text(file: Path, kind: type[GateError]) -> str:
    """The text of a file: UTF-8, UTF-16 or -32 with a byte order mark, any of them in gzip; line ends become `\\n`.

    Raises:
        GateError: of the `kind` that is given: it is no text, or none of these; the message says which it seems to be.
        OSError: it cannot be read.
    """
    content = file.read_bytes()
    if content.startswith(b"\x1f\x8b"):
        content = _unpacked(content, file, kind)
    for mark, (name, next_step) in _OTHER_FORMATS.items():
        if content.startswith(mark):
            raise kind(f"is {name}, not a text file", where=str(file), next_step=next_step)
    text = _decoded(content, file, kind)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _unpacked(content: bytes, file: Path, kind: type[GateError]) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise kind(f"damaged gzip: {error}", where=str(file), next_step="copy or download it again") from None


def _decoded(content: bytes, file: Path, kind: type[GateError]) -> str:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return _decode(content[len(mark) :], encoding, file, kind)
    if b"\0" in content[:4096]:
        raise kind(
            "holds null bytes: UTF-16 without a byte order mark, or no text at all",
            where=str(file),
            next_step="save it as UTF-8",
        )
    return _decode(content, "utf-8", file, kind)


def _decode(content: bytes, encoding: str, file: Path, kind: type[GateError]) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        found = content[error.start : error.start + 1].hex()
        raise kind(
            f"not {encoding.upper()} at byte {error.start} (0x{found}); saved by an older Windows editor?",
            where=f"{file}, line {line}",
            next_step="save it as UTF-8",
        ) from None
