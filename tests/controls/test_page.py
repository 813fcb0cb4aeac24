"""docs/healthy-and-broken.md is what the tests are."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from harness.system.paths import REPOSITORY


@pytest.mark.process
def test_the_page_lists_what_is_tested_and_enough_of_it() -> None:
    command = [sys.executable, str(REPOSITORY / "docs" / "controls.py"), "--print"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    page = (REPOSITORY / "docs" / "healthy-and-broken.md").read_text(encoding="utf-8")
    assert done.stdout == page, "run docs/controls.py"
    for kind, enough in (("healthy", 20), ("broken", 30)):
        counts = re.search(rf"^\| {kind}: [a-z ]+((?: \| \d+)+) \|$", page, re.MULTILINE)
        assert counts is not None
        in_gate, converted, merged, *_ = map(int, re.findall(r"\d+", counts[1]))
        assert in_gate + converted + merged >= enough, kind
