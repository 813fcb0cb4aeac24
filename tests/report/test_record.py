import pytest

from harness.checks.check import Check
from harness.checks.verdict import Verdict
from harness.config.limits import Limit
from harness.errors import GateError
from harness.measure.edge_cases import EdgeResult
from harness.metrics.measurement import Measured, Measurement
from harness.report.events import read_events
from harness.report.record import SCHEMA_VERSION, build_record, load_record, point_latest, save_record
from harness.report.recorder import Recorder
from harness.report.table import (
    comparison_markdown,
    comparison_table,
    findings,
    further_tables,
    latency_table,
    recommendation,
)
from harness.stats.estimate import Estimate

LIMIT = Limit(min=0.9, reason="because it must")
REQUIRED = {"int4": {"exact_match_rate": LIMIT}, "int8": {"exact_match_rate": LIMIT}}


def tell(folder, variant, rate, size, writer="main"):
    events = Recorder(folder, writer)
    estimates = {"size_bytes": Estimate.exact(size), "exact_match_rate": Estimate.exact(rate)}
    events.metrics(variant, estimates)
    estimate = estimates["exact_match_rate"]
    events.check(Check(variant=variant, metric="exact_match_rate", estimate=estimate, limit=LIMIT, details="e"))
    return events


@pytest.fixture
def run_folder(tmp_path):
    folder = tmp_path / "run"
    tell(folder, "int4", 0.5, 1000, "gw0").latency("int4", 64, {"ttft_p50_s": Estimate.exact(0.1)})
    tell(folder, "int8", 0.95, 2000, "gw1")
    Recorder(folder, "main").run(started_at="2026-01-01T00:00:00+00:00", domain={"name": "parts"}, model={"spec": "m"})
    return folder


def test_events_of_several_writers_make_one_record(run_folder):
    record = build_record(run_folder, REQUIRED)
    assert record.schema_version == SCHEMA_VERSION
    assert {name: v.verdict for name, v in record.variants.items()} == {"int4": Verdict.FAIL, "int8": Verdict.PASS}
    assert record.recommended == "int8"
    assert record.variants["int4"].latency_by_prompt_tokens[64]["ttft_p50_s"].value == 0.1


def test_a_variant_without_events_is_incomplete(run_folder):
    record = build_record(run_folder, {**REQUIRED, "fp16": {"exact_match_rate": LIMIT}})
    assert record.variants["fp16"].verdict is Verdict.INCOMPLETE


def test_a_problem_fails_the_variant(run_folder):
    Recorder(run_folder, "main").problem("int8", "test_x", "it broke\nbadly")
    record = build_record(run_folder, REQUIRED)
    assert record.variants["int8"].verdict is Verdict.FAIL
    assert "int8: test_x: it broke" in findings(record)
    assert record.recommended is None


def test_what_stops_several_tests_is_one_problem(run_folder):
    log = Recorder(run_folder, "main")
    for test in ("test_x", "test_y", "test_z"):
        log.problem("int8", test, "cannot load")
    log.problem("int8", "test_x", "something else")
    record = build_record(run_folder, REQUIRED)
    assert [problem.tests for problem in record.variants["int8"].problems] == [
        ["test_x", "test_y", "test_z"],
        ["test_x"],
    ]
    assert "int8: test_x and 2 more: cannot load" in findings(record)


def test_a_line_cut_by_a_crash_is_left_out(run_folder):
    with (run_folder / "events" / "gw1.jsonl").open("a") as stream:
        stream.write('{"event": "metrics", "varia')
    assert build_record(run_folder, REQUIRED).variants["int8"].verdict is Verdict.PASS
    assert all("event" in event for event in read_events(run_folder))


def test_a_record_survives_the_disk(run_folder):
    record = build_record(run_folder, REQUIRED)
    save_record(record, run_folder)
    assert load_record(run_folder) == record


def test_a_foreign_record_is_refused(run_folder):
    (run_folder / "run.json").write_text("[]")
    with pytest.raises(GateError, match="schema_version None"):
        load_record(run_folder)
    with pytest.raises(GateError, match="no run here"):
        load_record(run_folder / "nowhere")


def test_a_record_of_another_version_is_refused_with_the_way_out(run_folder):
    save_record(build_record(run_folder, REQUIRED), run_folder)
    file = run_folder / "run.json"
    file.write_text(file.read_text().replace(f'"schema_version": {SCHEMA_VERSION}', '"schema_version": 99'))
    with pytest.raises(GateError, match=r"schema_version 99; this slm-gate reads 2\n.*\n.*the slm-gate that wrote it"):
        load_record(run_folder)


def test_latest_points_at_the_newest_run(tmp_path):
    for run_id in ("a", "b"):
        (tmp_path / run_id).mkdir()
        point_latest(tmp_path, run_id)
    assert (tmp_path / "latest").resolve() == tmp_path / "b"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "latest"]


def test_tables_show_what_was_measured(run_folder):
    record = build_record(run_folder, REQUIRED)
    table = comparison_table(record)
    assert "50.0 %" in table
    assert "FAIL" in table
    assert "kld_mean_nats" not in table  # never measured: no row of dashes
    assert recommendation(record) == "recommended: int8, the smallest variant that passes (2.0 KiB)"
    assert findings(record)[0] == "int4: exact_match_rate = 50.0 %, must be at least 90.0 %"


def test_prompt_lengths_stand_in_order_whoever_measured_first(run_folder):
    log = Recorder(run_folder, "gw1")
    for prompt_tokens in (1024, 256):
        log.latency("int8", prompt_tokens, {"ttft_p50_s": Estimate.exact(0.2)})
    rows = [line.split() for line in latency_table(build_record(run_folder, REQUIRED)).splitlines()]
    lengths = [int(row[1]) for row in rows if row[0] == "int8"]
    assert lengths == sorted(lengths)
    assert {256, 1024} <= set(lengths)


def test_model_output_cannot_break_the_markdown(run_folder):
    Recorder(run_folder, "main").problem("int8", "test_x", "<script>alert(1)</script> | `x`")
    text = comparison_markdown(build_record(run_folder, REQUIRED))
    assert "<script>" not in text
    assert "\\|" in text


LEVEL = {
    "clients": 4, "requests": 8, "errors": 1, "same": 7, "requests_per_second": 120.0, "tokens_per_second": 3000.0,
    "ttft_p50_s": 0.03, "ttft_p95_s": 0.05, "itl_p50_s": 0.001, "itl_p95_s": None,
}  # fmt: skip


def test_deployment_and_load_have_tables_of_their_own_once_they_were_measured(run_folder):
    assert [title for title, _ in further_tables(build_record(run_folder, REQUIRED))] == ["latency by prompt length"]
    events = Recorder(run_folder, "main")
    events.details("int8", "deployment", {"registered": True, "listed": True, "loaded": False})
    events.details("int8", "load", [LEVEL])
    tables = dict(further_tables(build_record(run_folder, REQUIRED)))
    assert tables["deployment on Foundry Local"].splitlines()[-1].split() == ["int8", "yes", "yes", "NO", *"-----"]
    row = tables["load on the web service"].splitlines()[-1]
    assert row.split() == ["int8", "4", "8", "1", "7", "120/s", "3,000/s", "30", "ms", "50", "ms", "1", "ms", "-"]
    assert "## Load on the web service" in comparison_markdown(build_record(run_folder, REQUIRED))


def test_a_measurement_is_recorded_in_one_call(tmp_path):
    recorder = Recorder(tmp_path / "run", "main")
    found = Measured(
        measurement=Measurement(estimates={"exact_match_rate": Estimate.exact(0.5, n=4)}),
        samples={"edge_cases": [EdgeResult(case_id="a", kind="empty", is_handled=True, said="", explanation="")]},
        details={"load": [LEVEL]},
        latency={64: {"ttft_p50_s": Estimate.exact(0.1)}},
        of_source={"perplexity": Estimate.exact(2.0)},
    )
    assert recorder.record("int4", found) is found.measurement
    record = build_record(tmp_path / "run", REQUIRED)
    variant = record.variants["int4"]
    assert variant.metrics == found.measurement.estimates
    assert variant.details["load"] == [LEVEL]
    assert variant.latency_by_prompt_tokens == found.latency
    assert record.source == found.of_source
    assert (tmp_path / "run/samples/int4/edge_cases.jsonl").read_text().count("\n") == 1
