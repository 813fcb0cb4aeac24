"""What the README says is what there is."""

import importlib.util
import re
from pathlib import Path

import pytest

from harness import ROOMS
from harness.report.conversion_tables import settings_table
from harness.source.source import resolve_source

ROOT = Path(__file__).resolve().parent.parent


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_metrics_is_current():
    readme = load(ROOT / "docs/readme.py")
    assert readme.METRICS_PAGE.read_text(encoding="utf-8") == readme.metrics_page(), "run docs/readme.py"


def test_the_rooms_and_their_arrow_are_current():
    readme = load(ROOT / "docs/readme.py")
    text = readme.README.read_text(encoding="utf-8")
    assert readme.with_part(text, "arrow", readme.arrow()) == text, "run docs/readme.py"


def references(text):
    return re.findall(r"`([a-z]+)/([\w/]+\.py):([\w.]+)`", text)


def test_the_walks_name_what_there_is():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    found = references(text)
    assert len(found) > 20
    for room, module, name in found:
        code = (ROOT / "harness" / room / module).read_text(encoding="utf-8")
        assert re.search(rf"^(def|class) {name}\b|^{name}\b", code, re.MULTILINE), f"{room}/{module}:{name}"


def test_no_walk_goes_up():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").partition("## The rooms")[0]
    for walk in text.split("\n### ")[1:]:
        steps = [references(step)[0][0] for step in re.findall(r"^\d+\. .*", walk, re.MULTILINE)]
        places = [list(ROOMS).index(room) for room in steps]
        assert places == sorted(places), steps


@pytest.mark.toolchain
def test_the_conversion_that_the_docs_show_is_what_there_is(demo_artifacts):
    """Its settings; times and memory are those of the machine that wrote it."""
    readme = load(ROOT / "docs/readme.py")
    source = resolve_source(str(ROOT / "fixtures/data/demo/model"))
    table = readme.as_code(settings_table(demo_artifacts.values(), source))
    assert table in readme.CONVERSION.read_text(encoding="utf-8"), "run docs/readme.py --convert"


def test_every_path_it_names_is_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:harness|fixtures|docs|suites|results)/[\w./-]*)`", text)
    assert paths
    assert [path for path in paths if not path.startswith("results/latest") and not (ROOT / path).exists()] == []


def test_every_make_target_it_names_is_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make ([a-z-]+)", (ROOT / "README.md").read_text(encoding="utf-8")):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
