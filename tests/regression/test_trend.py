"""Runs of one machine stand in one series, and a change names the run that brought it."""

from datetime import UTC, datetime, timedelta

import pytest

from harness.cli.main import main
from harness.regression.trend import read_records, series_of
from harness.report.environment import describe_environment
from harness.report.record import RunRecord, VariantRecord, save_record
from harness.stats.estimate import Estimate

VALUES = (1.00, 1.01, 0.99, 1.00, 1.02, 1.00, 1.20, 1.21, 1.19, 1.20, 1.22, 1.21)


def write_runs(results, values, *, cpu="Made Up", first=0):
    environment = describe_environment().model_copy(update={"cpu": cpu})
    for number, value in enumerate(values, first):
        folder = results / f"run-{number:02}"
        folder.mkdir(parents=True)
        variant = VariantRecord(host="here", metrics={"itl_p50_s": Estimate.exact(value)})
        record = RunRecord(
            run_id=folder.name,
            started_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number),
            environments={"here": environment},
            variants={"int4": variant},
        )
        save_record(record, folder)
    return results


@pytest.fixture
def results(tmp_path):
    return write_runs(tmp_path / "results", VALUES)


def test_the_run_that_brought_a_change_is_named(results, capsys):
    assert main(["trend", "--results-dir", str(results)]) == 0
    shown = capsys.readouterr().out
    assert "int4: itl_p50_s went from 1 s to 1.21 s with run-06" in shown
    (series,) = series_of(read_records(results), ["itl_p50_s"])
    assert series.changes == (6,)
    assert series.drawing.index("|") == 6


def test_another_machine_has_a_series_of_its_own(results):
    write_runs(results, [5.0, 5.0, 5.0], cpu="Other", first=20)
    found = series_of(read_records(results), ["itl_p50_s"])
    assert sorted(len(one.points) for one in found) == [3, 12]
    assert [one.changes for one in found if len(one.points) == 3] == [()]


def test_what_is_no_run_is_left_out(results):
    (results / "notes").mkdir()
    (results / "broken").mkdir()
    (results / "broken" / "run.json").write_text("{")
    assert len(read_records(results)) == 12


def test_an_empty_folder_and_a_mistyped_metric(tmp_path, capsys):
    assert main(["trend", "--results-dir", str(tmp_path / "none")]) == 0
    assert "no two runs" in capsys.readouterr().out
    assert main(["trend", "--metric", "itl_p50"]) == 2
