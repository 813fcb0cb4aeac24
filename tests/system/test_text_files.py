import gzip

import pytest

from harness.errors import ConfigError
from harness.system.text_files import read_text

TEXT = 'name = "Zürich"\nlast = 1\n'
READ = {
    "UTF-8": TEXT.encode(),
    "a byte order mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "line ends of Windows": TEXT.replace("\n", "\r\n").encode(),
    "line ends of an old Mac": TEXT.replace("\n", "\r").encode(),
    "UTF-16, little endian": TEXT.encode("utf-16"),
    "UTF-16, big endian": b"\xfe\xff" + TEXT.encode("utf-16-be"),
    "UTF-32": TEXT.encode("utf-32"),
    "gzip": gzip.compress(TEXT.encode("utf-16")),
}


@pytest.mark.parametrize("content", READ.values(), ids=READ)
def test_what_editors_leave_is_read(tmp_path, content):
    file = tmp_path / "file"
    file.write_bytes(content)
    assert read_text(file, ConfigError) == TEXT


REFUSED = {
    "Windows-1252": (b"a\nb\xfc", "line 2", "not UTF-8 at byte 3 (0xfc)"),
    "UTF-16 without a mark": (TEXT.encode("utf-16-le"), "file", "null bytes"),
    "half a UTF-16": (TEXT.encode("utf-16")[:-1], "file", "not UTF-16-LE"),
    "a PDF": (b"%PDF-1.7", "file", "is a PDF"),
    "zstd": (b"\x28\xb5\x2f\xfd...", "file", "compressed with zstd"),
}


@pytest.mark.parametrize(("content", "where", "what"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_text_is_named(tmp_path, content, where, what):
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_text(file, ConfigError)
    assert what in caught.value.what
    assert where in caught.value.where
    assert caught.value.next_step
