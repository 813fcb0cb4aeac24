from pathlib import Path

import pytest

from harness.cli.main import main
from tests.report.runs import end, start, tell

VERSION_1 = Path(__file__).parents[1] / "report/data/run-of-version-1"


@pytest.fixture
def run_folder(tmp_path):
    folder = tmp_path / "results" / "some-run"
    start(folder)
    tell(folder, "int4", 0.5, 1000)
    tell(folder, "int8", 0.95, 2000)
    end(folder)
    return folder


def test_a_stored_run_is_shown_again(run_folder, capsys):
    assert main(["report", str(run_folder)]) == 0
    shown = capsys.readouterr().out
    assert "recommended: int8" in shown
    assert "int4: exact_match_rate = 50.0 %" in shown


def test_latest_may_be_a_file_with_the_runs_name(run_folder, capsys):
    latest = run_folder.with_name("latest")
    latest.write_text(run_folder.name)
    assert main(["report", str(latest)]) == 0
    assert "recommended: int8" in capsys.readouterr().out


def test_a_missing_run_is_one_clear_message(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("slm-gate: no run here\n  where: ")


def test_an_interrupted_run_is_shown_as_one(tmp_path, capsys):
    start(tmp_path / "run")
    tell(tmp_path / "run", "int4", 0.5, 1000)
    assert main(["report", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out
    assert "INTERRUPTED: the run did not come to its end" in shown
    assert "int4: exact_match_rate = 50.0 %" in shown
    assert "recommended: " not in shown


def test_a_record_of_a_newer_version_is_one_clear_message(run_folder, capsys):
    file = run_folder / "run.json"
    file.write_text(file.read_text().replace('"schema_version": 2', '"schema_version": 99', 1))
    assert main(["report", str(run_folder)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("slm-gate: a run record of schema_version 99; this slm-gate reads up to 2\n  where: ")
    assert "use a newer slm-gate" in told


def test_a_record_of_the_first_version_is_shown(capsys):
    assert main(["report", str(VERSION_1)]) == 0
    shown = capsys.readouterr().out
    assert "recommended: int4, the smallest variant that passes (4.2 MiB)" in shown
    assert "Traceback" not in shown
