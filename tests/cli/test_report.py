import pytest

from harness.cli.main import main
from harness.report.record import build_record, save_record
from tests.report.test_record import REQUIRED, tell


@pytest.fixture
def run_folder(tmp_path):
    folder = tmp_path / "results" / "some-run"
    tell(folder, "int4", 0.5, 1000)
    tell(folder, "int8", 0.95, 2000)
    save_record(build_record(folder, REQUIRED), folder)
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
