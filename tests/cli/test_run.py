"""`slm-gate run`: pytest on the suites, with every option passed on and its statuses translated."""

import re
import subprocess
import sys

import pytest

from harness.cli import run
from harness.cli.main import main
from harness.config.options import GATE_OPTIONS
from harness.system.paths import REPOSITORY

SUITES = {
    "test_pass.py": "def test_pass(): pass",
    "test_fail.py": "def test_fail(): assert False",
    "test_broken.py": "import nonsense",
    "conftest.py": """
def pytest_addoption(parser):
    parser.addoption("--end-with", type=int)
def pytest_sessionfinish(session):
    if session.config.getoption("end_with") is not None:
        session.exitstatus = session.config.getoption("end_with")
def pytest_report_header(config):
    return f"passed on: {config.invocation_params.args}"
""",
}


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Stands in for the repository: suites that pass, fail, or cannot be read."""
    root = tmp_path / "a clone"
    (root / "suites" / "quality").mkdir(parents=True)
    (root / "pyproject.toml").write_text("")
    for name, content in SUITES.items():
        (root / "suites" / name).write_text(content)
    (root / "suites" / "quality" / "test_more.py").write_text("def test_more(): pass")
    monkeypatch.setattr(run, "REPOSITORY", root)
    monkeypatch.chdir(root)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # nothing of them is needed, and they take a second
    return root


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["suites/test_pass.py"], 0),
        (["suites/test_fail.py"], 1),
        (["suites/test_broken.py"], 2),
        (["suites/test_pass.py", "--nonsense"], 2),
        (["suites/test_absent.py"], 2),
        (["suites/test_pass.py", "-k", "nothing at all"], 2),
        (["suites/test_pass.py", "-k", "nothing"], 3),
        (["suites/test_pass.py", "--end-with", "3"], 3),
        (["suites/test_pass.py", "--end-with", "1"], 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_the_status_says_what_pytests_status_means(repository, arguments, status):
    assert main(["run", *arguments]) == status


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        ([], {"test_pass.py", "test_fail.py", "test_more.py"}),
        (["suites/quality"], {"test_more.py"}),
        (["suites/test_pass.py::test_pass"], {"test_pass.py"}),
        (["--deselect", "suites/test_pass.py"], {"test_fail.py", "test_more.py"}),
        (["-k", "suites or more"], {"test_pass.py", "test_fail.py", "test_more.py"}),
        (["-k", "more", "-x", "suites/quality"], {"test_more.py"}),
        (["-k", "x" * 5000], set()),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_runs_is_the_suites_or_the_part_of_them_that_is_named(repository, arguments, files, capfd):
    (repository / "suites" / "test_broken.py").unlink()
    main(["run", "--collect-only", "-q", *arguments])
    assert set(re.findall(r"(\w+\.py)::", capfd.readouterr().out)) == files


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        (["suites/quality"], {"test_more.py"}),
        (["suites"], {"test_pass.py", "test_fail.py", "test_more.py"}),
        (["suites/test_pass.py::test_pass"], {"test_pass.py"}),
        (["--deselect", "suites/test_pass.py"], {"test_fail.py", "test_more.py"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_suites_are_found_from_any_folder(repository, arguments, files, tmp_path, monkeypatch, capfd):
    (repository / "suites" / "test_broken.py").unlink()
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--collect-only", "-q", *arguments]) == 0
    assert set(re.findall(r"(\w+\.py)::", capfd.readouterr().out)) == files


@pytest.mark.parametrize("is_in_clone", [True, False], ids=["in the clone", "elsewhere"])
def test_a_suite_that_is_not_there_is_told_with_those_that_are(repository, is_in_clone, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(repository if is_in_clone else tmp_path)
    assert main(["run", "--variants", "int4", "suites/quality/test_mor.py::test_x"]) == 2
    told = capsys.readouterr().err
    assert "no such suite: suites/quality/test_mor.py::test_x" in told
    assert "did you mean 'suites/quality/test_more.py'" in told
    assert "suites/test_pass.py" in told


def test_every_argument_reaches_pytest_as_it_stands(repository, capfd):
    given = ["suites/test_pass.py", "-k", "not (nothing or nobody)", "-p", "no:cacheprovider", "--", "suites/quality"]
    assert main(["run", *given]) == 0
    assert f"passed on: {('-c', str(repository / 'pyproject.toml'), *given)}" in capfd.readouterr().out


def test_suites_that_are_not_there_are_one_clear_message(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "REPOSITORY", tmp_path)
    assert main(["run"]) == 2
    assert "install from a clone" in capsys.readouterr().err


def test_help_shows_the_gates_own_options_wherever_it_is_asked_for(capsys):
    assert main(["run", "--variants", "int4", "--help"]) == 0
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) < 60
    assert all(f"--{option.flag.strip('-')}" in shown for option in GATE_OPTIONS)
    statuses = shown.partition("Exit status:\n")[2]
    assert set(re.findall(r"^  (\d+) ", statuses, re.MULTILINE)) == {"0", "1", "2", "3", "130"}


@pytest.mark.process
def test_pytest_takes_exactly_the_options_that_the_help_shows():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    _, group, rest = done.stdout.partition("the acceptance gate for small language models:")
    assert group
    flags = re.findall(r"^  (--[\w-]+)", rest.partition("\n\n")[0], re.MULTILINE)
    assert flags == [option.flag for option in GATE_OPTIONS]
