"""From events to the record: several writers, crashes, interrupted runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.checks.verdict import ExitStatus, Verdict
from harness.config.load import load_config
from harness.config.target import CPU
from harness.errors import GateError
from harness.measure.edge_cases import EdgeResult
from harness.metrics.measurement import Measured, Measurement
from harness.report.build import build_record, read_run, status_of
from harness.report.events import EventLog, RunEvent, read_events
from harness.report.findings import findings, recommendation
from harness.report.record import load_record
from harness.report.recorder import Recorder
from harness.report.samples import EDGE_CASES, read_samples
from harness.stats.estimate import Estimate
from tests.report.runs import LIMIT, LIMITS, end, judge, start, tell

ROOT = Path(__file__).resolve().parents[2]


def test_events_of_several_writers_make_one_record(run_folder):
    record = end(run_folder)
    assert {name: v.verdict for name, v in record.variants.items()} == {"int4": Verdict.FAIL, "int8": Verdict.PASS}
    assert record.recommended == "int8"
    assert record.variants["int4"].latency_by_prompt_tokens[64]["ttft_p50_s"].value == 0.1
    assert record.variants["int4"].limits == LIMITS["int4"]


def test_what_is_told_later_counts_whoever_tells_it(tmp_path):
    """A worker's file comes before the main process's by name, and the worker knows more of the model."""
    start(tmp_path / "run")
    Recorder(tmp_path / "run", "gw0").run(model={"spec": "m", "architecture": "Qwen2ForCausalLM"})
    assert build_record(tmp_path / "run").model.architecture == "Qwen2ForCausalLM"


def test_a_measurement_is_recorded_in_one_call(tmp_path):
    recorder = start(tmp_path / "run")
    row = EdgeResult(case_id="a", kind="empty", is_handled=True, said="", explanation="")
    found = Measured(
        measurement=Measurement(estimates={"exact_match_rate": Estimate.exact(0.5, n=4)}),
        samples={"edge_cases": [row]},
        details={"exact_match_by_kind": {"code": Estimate.exact(0.5)}},
        latency={64: {"ttft_p50_s": Estimate.exact(0.1)}},
        of_source={"perplexity": Estimate.exact(2.0)},
    )
    assert recorder.record("int4", found) is found.measurement
    record = build_record(tmp_path / "run")
    variant = record.variants["int4"]
    assert variant.metrics == found.measurement.estimates
    assert variant.details.exact_match_by_kind == {"code": Estimate.exact(0.5)}
    assert variant.latency_by_prompt_tokens == found.latency
    assert record.source == found.of_source
    assert read_samples(tmp_path / "run", "int4", EDGE_CASES) == [row]


def test_every_variant_tells_when_and_where_it_was_measured(run_folder):
    record = end(run_folder)
    int4, int8 = record.variants["int4"], record.variants["int8"]
    assert record.started_at <= int4.started_at <= int4.ended_at <= int8.started_at
    assert {int4.host, int8.host} == set(record.environments)
    assert record.environments[int4.host].packages["numpy"]


def test_every_variant_tells_what_it_ran_on(tmp_path):
    start(tmp_path / "run", targets={"int4": CPU.as_dict()})
    end(tmp_path / "run")
    variants = load_record(tmp_path / "run").variants
    assert (variants["int4"].target.provider, variants["int8"].target) == ("CPUExecutionProvider", None)


def test_files_of_two_runs_and_two_hosts_can_lie_in_one_folder(tmp_path, monkeypatch):
    for run, host in (("run-a", "one-1a2b3c"), ("run-a", "two-1a2b3c"), ("run-b", "one-1a2b3c")):
        monkeypatch.setattr("harness.report.events.host_id", lambda host=host: host)
        start(tmp_path / run)
    names = [file.name for file in sorted(tmp_path.glob("*/events/*"))]
    assert len(set(names)) == 3
    assert set(build_record(tmp_path / "run-a").environments) == {"one-1a2b3c", "two-1a2b3c"}


def test_a_variant_without_events_is_incomplete(tmp_path):
    start(tmp_path / "run", {**LIMITS, "fp16": {"exact_match_rate": LIMIT}})
    variant = end(tmp_path / "run").variants["fp16"]
    assert (variant.verdict, variant.host, variant.started_at) == (Verdict.INCOMPLETE, None, None)


def test_a_problem_fails_the_variant(run_folder):
    Recorder(run_folder, "main").problem("int8", "test_x", "it broke\nbadly")
    record = end(run_folder)
    assert record.variants["int8"].verdict is Verdict.FAIL
    assert "int8: test_x: it broke" in findings(record)
    assert record.recommended is None


def test_what_stops_several_tests_is_one_problem(run_folder):
    recorder = Recorder(run_folder, "main")
    for test in ("test_x", "test_y", "test_z", "test_x"):
        recorder.problem("int8", test, "cannot load")
    recorder.problem("int8", "test_x", "something else")
    record = build_record(run_folder)
    assert [one.tests for one in record.variants["int8"].problems] == [["test_x", "test_y", "test_z"], ["test_x"]]
    assert "int8: test_x and 2 more: cannot load" in findings(record)


@pytest.mark.parametrize("rates", [(0.5, 1.0), (1.0, 0.5)])
def test_a_metric_that_is_judged_twice_must_pass_twice(tmp_path, rates):
    recorder = start(tmp_path / "run")
    for rate in rates:
        judge(recorder, "int4", rate)
    assert end(tmp_path / "run").variants["int4"].verdict is Verdict.FAIL


@pytest.mark.parametrize("rates", [(float("nan"), 1.0), (1.0, None)])
def test_no_data_once_is_no_data(tmp_path, rates):
    recorder = start(tmp_path / "run")
    for rate in rates:
        judge(recorder, "int4", rate)
    assert end(tmp_path / "run").variants["int4"].verdict is Verdict.NO_DATA


def test_a_test_outside_of_variants_that_did_not_run_leaves_the_run_undecided(tmp_path):
    recorder = start(tmp_path / "run", {"int8": LIMITS["int8"]})
    tell(tmp_path / "run", "int8", 0.95, 2000)
    recorder.skipped(None, "suites/test_more.py", "a package is missing")
    record = end(tmp_path / "run")
    assert status_of(record) is ExitStatus.UNDECIDED
    assert record.recommended is None
    assert "suites/test_more.py did not run: a package is missing" in findings(record)


@pytest.mark.parametrize(("policy", "status"), [("red", ExitStatus.UNDECIDED), ("green", ExitStatus.PASS)])
def test_the_exit_status_can_be_derived_from_the_record_alone(tmp_path, policy, status):
    limit = LIMIT.model_copy(update={"judge": "bound"})
    config = load_config(ROOT / "gate.toml")
    config = config.model_copy(update={"gate": config.gate.model_copy(update={"inconclusive": policy})})
    recorder = start(tmp_path / "run", {"int4": {"exact_match_rate": limit}}, config=config)
    judge(recorder, "int4", Estimate(value=0.92, low=0.8, high=0.97, confidence=0.95, n=50), limit=limit)
    end(tmp_path / "run")
    assert status_of(load_record(tmp_path / "run")) is status


def test_a_line_cut_by_a_crash_is_left_out(run_folder):
    with next(run_folder.glob("events/*.gw1.jsonl")).open("a") as stream:
        stream.write('{"event": "metrics", "varia')
    record = end(run_folder)
    assert record.variants["int8"].verdict is Verdict.PASS
    assert record.problems == []


def test_a_line_in_between_that_cannot_be_read_is_a_problem(run_folder):
    file = next(run_folder.glob("events/*.gw1.jsonl"))
    lines = file.read_text().splitlines()
    lines[1] = lines[1][:-9]
    file.write_text("\n".join(lines) + "\n")
    record = end(run_folder)
    assert "line 2 cannot be read" in findings(record)[0]
    assert status_of(record) is ExitStatus.FAIL


def test_a_file_cut_in_its_header_is_left_out(run_folder):
    (run_folder / "events/run.host.gw2.jsonl").write_text('{"event": "hea')
    assert build_record(run_folder).variants["int8"].verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ('{"event": "run", "started_at": ""}', "no events of a run that this slm-gate can read"),  # version 1
        ("[]", "no events of a run"),
        ('{"event": "header", "schema_version": 99}', "schema_version 99; this slm-gate reads up to"),
    ],
)
def test_events_of_another_version_are_refused(tmp_path, header, told):
    (tmp_path / "events").mkdir()
    (tmp_path / "events/main.jsonl").write_text(f"{header}\n")
    with pytest.raises(GateError, match=told) as caught:
        read_run(tmp_path)
    assert caught.value.next_step


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_folder_without_a_run_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(GateError, match="no run here"):
        read_run(tmp_path / name)


def test_facts_that_nobody_knows_are_an_error_where_they_are_told(tmp_path):
    with pytest.raises(ValueError, match="colour"):
        Recorder(tmp_path / "run", "main").run(colour="red")


def test_an_interrupted_run_is_read_from_its_events(run_folder):
    Recorder(run_folder, "gw1").started("int8", "test_latency[int8]")
    record = read_run(run_folder)
    assert "the last test that began is test_latency[int8]" in record.interrupted
    assert recommendation(record).startswith("INTERRUPTED: the run did not come to its end")
    assert record.recommended is None
    assert record.variants["int4"].value("exact_match_rate") == 0.5
    assert status_of(record) is ExitStatus.FAIL  # int4 did fail


def test_an_interrupted_run_in_which_all_passed_so_far_is_undecided(tmp_path):
    start(tmp_path / "run", {"int8": LIMITS["int8"]})
    tell(tmp_path / "run", "int8", 0.95, 2000)
    assert status_of(read_run(tmp_path / "run")) is ExitStatus.UNDECIDED
    end(tmp_path / "run")
    assert status_of(read_run(tmp_path / "run")) is ExitStatus.PASS


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.report.runs import LIMITS, start, tell
folder = Path(sys.argv[1])
start(folder)
tell(folder, "int4", 0.5, 1000, "gw0").started("int4", "test_memory[int4]")
os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
"""


@pytest.mark.process
def test_what_a_killed_process_has_recorded_is_there(tmp_path):
    command = [sys.executable, "-c", KILLED, tmp_path / "a run"]
    done = subprocess.run(list(map(str, command)), env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False, timeout=60)
    assert done.returncode != 0
    record = read_run(tmp_path / "a run")
    assert record.interrupted.endswith("test_memory[int4]")
    assert findings(record)[0] == "int4: exact_match_rate = 50.0 %, must be at least 90.0 %"


def test_a_writer_that_comes_back_adds_to_its_file(tmp_path):
    for _ in range(2):
        EventLog(tmp_path / "run", "main").append(RunEvent(part="-k x"))
    (file,) = (tmp_path / "run/events").iterdir()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["header", "run", "run"]
    assert lines[0]["run_id"] == "run"
    assert len(read_events(tmp_path / "run")) == 2


def test_in_a_part_of_the_gate_only_variants_of_which_something_was_to_run_count(tmp_path):
    for part, status in (("-k int8", ExitStatus.PASS), (None, ExitStatus.UNDECIDED)):
        folder = tmp_path / str(part)
        start(folder, part=part)
        tell(folder, "int8", 0.95, 2000)
        end(folder)
        assert status_of(build_record(folder)) is status
