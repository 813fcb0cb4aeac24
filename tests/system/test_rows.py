import os
import signal
import subprocess
import sys

import pytest

from harness.errors import FileError
from harness.system.paths import REPOSITORY
from harness.system.rows import KeptRows

WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from harness.system.rows import KeptRows
rows = KeptRows(Path(sys.argv[2]))
for number in range(100_000):
    rows.put(str(number), {"answer": "x" * 200, "number": number})
    print(number, flush=True)
"""


def test_a_row_comes_back_with_the_time_it_was_kept(tmp_path):
    rows = KeptRows(tmp_path / "new" / "rows.db")
    assert rows.get("a") is None
    rows.put("a", {"text": "é\ud800"})
    assert KeptRows(tmp_path / "new" / "rows.db").get("a") == {"text": "é\ud800"}
    assert rows.kept_at("a").endswith("+00:00")
    assert rows.kept_at("b") is None


def test_fresh_gives_out_only_what_it_made_itself(tmp_path):
    KeptRows(tmp_path / "rows.db").put("a", 1)
    fresh = KeptRows(tmp_path / "rows.db", fresh=True)
    assert fresh.get("a") is None
    fresh.put("a", 2)
    assert fresh.get("a") == 2
    assert KeptRows(tmp_path / "rows.db").get("a") == 2


def test_a_killed_writer_loses_no_row_that_it_told_of(tmp_path):
    command = [sys.executable, "-c", WRITER, str(REPOSITORY), str(tmp_path / "rows.db")]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    told = [int(writer.stdout.readline()) for _ in range(20)]
    os.kill(writer.pid, signal.SIGKILL)
    writer.communicate()
    rows = KeptRows(tmp_path / "rows.db")
    assert [rows.get(str(number))["number"] for number in told] == told


def test_a_damaged_file_is_begun_anew(tmp_path):
    (tmp_path / "rows.db").write_bytes(b"no database at all" * 100)
    rows = KeptRows(tmp_path / "rows.db")
    rows.put("a", 1)
    assert rows.get("a") == 1


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="folders cannot be read-only here")
def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "rows.db").mkdir()
    with pytest.raises((FileError, OSError)):
        KeptRows(tmp_path / "rows.db")
