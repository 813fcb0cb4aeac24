import pytest

from harness.pack.split import load_data
from harness.report.cells import cell
from harness.system.paths import REPOSITORY
from tests.pack.samples import SAMPLES

PAGE = REPOSITORY / "docs" / "data-formats.md"


@pytest.mark.parametrize("name", SAMPLES)
def test_the_page_says_of_each_format_what_the_gate_says(name, tmp_path):
    text = PAGE.read_text(encoding="utf-8")
    section = text.split(f"## {name[0].upper()}{name[1:]}\n")[1].split("\n## ")[0]
    file = SAMPLES[name](tmp_path).file
    for line in load_data(file).reading:
        assert f"* {cell(line)}\n" in section, "run python benchmarks/data_formats.py --page"
