"""What the project says of itself: its commands, versions, hooks and documents fit together."""

import re
import subprocess
import tomllib
from collections import defaultdict

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harness.system.paths import REPOSITORY

MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):(?!=)", MAKEFILE, re.MULTILINE))
CALLS_MAKE = (".ci/run", ".github/workflows/ci.yml", ".pre-commit-config.yaml", "CONTRIBUTING.md")
CONSTRAINTS = dict(
    line.split("==") for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if not line.startswith("#")
)
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
REQUIREMENTS = [Requirement(one) for one in (*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"])]


@pytest.mark.parametrize("name", CALLS_MAKE)
def test_only_targets_that_exist_are_called(name):
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    calls = re.findall(r"(?:^|run: |entry: |`|    )make ((?:[a-z-]+[ `]?)+)", text, re.MULTILINE)
    called = {target for call in calls for target in re.findall(r"[a-z-]+", call)}
    assert called
    assert called - TARGETS == set()


def test_ci_runs_every_check():
    steps = re.findall(r"^make ([a-z-]+)", (REPOSITORY / ".ci/run").read_text(encoding="utf-8"), re.MULTILINE)
    assert steps == ["install", "lint", "types", "test-all", "gate"]
    workflow = (REPOSITORY / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    for target in ("lint", "types", "test-fast", "test-all"):
        assert f"run: make {target}\n" in workflow
    for system in ("ubuntu", "windows", "macos"):
        assert f"{system}-latest" in workflow


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda one: one.name)
def test_the_constraints_have_every_requirement(requirement):
    """Of this system: a package that exists for another one only is not listed."""
    if requirement.marker and not requirement.marker.evaluate():
        pytest.skip("not for this system")
    versions = {canonicalize_name(name): version for name, version in CONSTRAINTS.items()}
    version = versions.get(canonicalize_name(requirement.name))
    assert version, "run `make lock` and commit constraints.txt"
    assert requirement.specifier.contains(version, prereleases=True), "run `make lock` and commit constraints.txt"


@pytest.mark.parametrize("file", sorted((REPOSITORY / "docs").rglob("*.md")), ids=lambda file: file.name)
def test_the_tests_that_a_document_names_are_there(file):
    """As `test_x.py::test_y`, or `::test_y` of the file that was named before."""
    files: dict[str, str] = defaultdict(str)  # two rooms may have a file of the same name
    for path in (path for folder in ("tests", "suites") for path in (REPOSITORY / folder).rglob("test_*.py")):
        files[path.name] += path.read_text(encoding="utf-8")
    named, missing = "", []
    for name, test in re.findall(r"`(?:[\w./]*/)?(test_\w+\.py)?(?:::(\w+))?`", file.read_text(encoding="utf-8")):
        named = name or named
        if (name and name not in files) or (test and f"def {test}(" not in files.get(named, "")):
            missing.append(f"{named}::{test}")
    assert missing == []


def test_no_file_names_the_host_of_a_package_index():
    hosts = "|".join(
        rf"{host}\.{top}" for host, top in (("pypi", "org"), ("pythonhosted", "org"), ("download.pytorch", "org"))
    )
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a clone")
    texts = [
        REPOSITORY / name
        for name in listed.stdout.splitlines()
        if re.search(r"\.(py|md|toml|yml|yaml|txt)$|Makefile|run$", name)
    ]
    found = [path.name for path in texts if path.exists() and re.search(hosts, path.read_text(encoding="utf-8"))]
    assert found == []
