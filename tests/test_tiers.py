"""The fast tier stays fast: what a test needs is marked, by itself or by the fixtures that it asks for."""

import os
import re

import pytest

from harness.system.paths import REPOSITORY
from tests import tiers

HOOKS = """
    from tests import tiers
    from tests.tiers import pytest_itemcollected, pytest_runtest_protocol, pytest_runtest_teardown
    import pytest

    tiers.CHILDREN_LIMIT_S = 0.3

    def pytest_configure(config):
        for name in tiers.NEEDS:
            config.addinivalue_line("markers", name)

    @pytest.fixture
    def toolchain_on_demand(): ...

    @pytest.fixture
    def toolchain(toolchain_on_demand): ...
"""
WORK = """
    import pytest, subprocess, sys

    def work(seconds):
        code = f"import time\\nwhile time.process_time() < {seconds}: pass"
        subprocess.run([sys.executable, "-c", code], check=True)
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Runs a small test file under the hooks, in a process of its own."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    pytester.makeconftest(HOOKS)

    def start(body, *options):
        pytester.makepyfile(WORK + body)
        return pytester.runpytest_subprocess(*options)

    return start


@pytest.mark.skipif(os.name == "nt", reason="Windows does not tell what children used")
def test_a_child_that_works_for_long_is_allowed_to_marked_tests_only(run):
    result = run(
        """
    def test_unmarked(): work(0.6)
    def test_short(): work(0)

    @pytest.mark.process
    def test_marked(): work(0.6)
    """
    )
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_unmarked*", "its child processes took *process*"])


def test_foundry_starts_in_marked_tests_only(run):
    result = run(
        """
    from harness.foundry import sdk

    def test_unmarked(tmp_path): sdk.start(tmp_path, tmp_path, "")

    @pytest.mark.foundry
    def test_marked(): assert sdk.start.__module__ == "harness.foundry.sdk"
    """
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*started by a test that is not marked `foundry`*"])


def test_a_fixture_brings_its_marker(run):
    result = run("    def test_it(toolchain): ...\n\n    def test_other(): ...", "-m", "not toolchain")
    result.assert_outcomes(passed=1, deselected=1)


def test_the_fast_tier_leaves_out_every_need():
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    expression = re.search(r"^FAST\s*:= not \((.*)\)$", makefile, re.MULTILINE)
    assert expression
    assert expression[1].split(" or ") == list(tiers.NEEDS)
