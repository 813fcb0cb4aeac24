import json
import shutil
from pathlib import Path

import pytest

from harness.checks.check import Outcome
from harness.checks.verdict import Verdict
from harness.config.limits import Limit
from harness.config.load import load_config
from harness.config.settings import GateConfig
from harness.errors import GateError
from harness.report.findings import findings
from harness.report.migrations import SCHEMA_VERSION, UNNAMED_HOST
from harness.report.record import load_record, point_latest, save_record
from harness.report.recorder import Recorder
from harness.report.table import comparison_markdown, comparison_table, further_tables
from harness.stats.estimate import Estimate
from tests.report.runs import LIMIT, end, judge, start

ROOT = Path(__file__).resolve().parents[2]
VERSION_1 = Path(__file__).parent / "data/run-of-version-1"


def test_a_record_survives_the_disk(run_folder):
    record = end(run_folder)
    assert record.schema_version == SCHEMA_VERSION
    assert load_record(run_folder) == record


def test_numbers_and_texts_that_json_lacks_survive_too(tmp_path):
    recorder = start(tmp_path / "run", {"int4": {"kld_mean_nats": Limit(max=1, reason="because it must")}})
    judge(recorder, "int4", float("nan"), "kld_mean_nats", Limit(max=1, reason="because it must"))
    judge(recorder, "int4", Estimate(value=1.0, high=float("inf"), confidence=0.95), "kld_p99_nats", LIMIT)
    recorder.problem("int4", "test_x", "model said '\ud800'\x00\u2028")
    end(tmp_path / "run")
    text = (tmp_path / "run/run.json").read_text(encoding="ascii")
    json.loads(text, parse_constant=pytest.fail)  # strict JSON
    variant = load_record(tmp_path / "run").variants["int4"]
    assert variant.checks[0].outcome is Outcome.NO_DATA
    assert variant.metrics["kld_p99_nats"].high == float("inf")
    assert variant.problems[0].message == "model said '\ud800'\x00\u2028"
    comparison_markdown(load_record(tmp_path / "run")).encode("utf-8")


def test_the_effective_configuration_can_be_read_back(tmp_path):
    config = load_config(ROOT / "gate.toml")
    start(tmp_path / "run", config=config, config_file={"path": "gate.toml", "sha256": "ab"})
    record = end(tmp_path / "run")
    assert isinstance(record.config, GateConfig)
    assert load_record(tmp_path / "run").config == config
    assert load_record(tmp_path / "run").config_file.sha256 == "ab"


def test_a_configuration_of_another_version_stays_as_it_is(run_folder):
    end(run_folder)
    edit(run_folder, config={"model": {"source": "m", "a_former_key": 1}})
    assert load_record(run_folder).config == {"model": {"source": "m", "a_former_key": 1}}


def edit(folder, **changes):
    plain = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**plain, **changes}))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "it has no schema_version"),
        ("{}", "it has no schema_version"),
        ('{"schema_version": true}', "it has no schema_version"),
        ('{"schema_version": "2"}', "it has no schema_version"),
        ("{", "not a run record"),
        ('{"schema_version": 2}', "not a run record: run_id: Field required"),
        ('{"schema_version": 1, "variants": 3}', "not a run record"),
        ('{"schema_version": 1, "variants": {"int4": {}}}', "not a run record"),
    ],
)
def test_what_is_no_record_is_one_clear_message(tmp_path, text, told):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(GateError, match=told) as caught:
        load_record(tmp_path)
    assert caught.value.next_step


def test_no_record_at_all(tmp_path):
    with pytest.raises(GateError, match="no run here"):
        load_record(tmp_path / "nowhere")


def test_a_newer_record_is_refused_with_the_way_out(run_folder):
    end(run_folder)
    edit(run_folder, schema_version=99)
    with pytest.raises(GateError, match=r"schema_version 99; this slm-gate reads up to 2\n.*\n.*use a newer slm-gate"):
        load_record(run_folder)


def test_a_record_of_the_first_version_can_be_read():
    record = load_record(VERSION_1)
    int4, int8 = record.variants["int4"], record.variants["int8"]
    assert record.schema_version == SCHEMA_VERSION
    assert record.environments[UNNAMED_HOST].machine == "x86_64"
    assert record.interrupted is None
    assert record.source["exact_match_rate"].value == pytest.approx(0.968, abs=1e-3)
    assert int4.metrics["size_bytes"] == Estimate.exact(4452144.0)
    assert int4.verdict is Verdict.PASS
    assert int4.checks[1].details == "24 of 24 answers are the same"
    assert int4.limits["size_bytes"].max == 67108864.0
    assert int4.details.conversion.graph.weights_per_bits == {4: 3538944}
    assert int4.details.fidelity.reference_export.sequence_tokens == 1024
    assert int4.details.exact_match_by_padding_tokens[1500] == Estimate.exact(1.0)
    assert int4.details.unread["deployment"]["same_tokens"] is True  # which has no table of its own any more
    assert int4.latency_by_prompt_tokens[64]["ttft_p50_s"].value > 0
    assert (int8.verdict, int8.checks[-2].outcome) == (Verdict.NO_DATA, Outcome.NO_DATA)
    assert int8.metrics["kld_mean_nats"].is_missing


def test_a_record_of_the_first_version_can_be_shown():
    record = load_record(VERSION_1)
    table = comparison_table(record)
    assert table.index("perplexity") < table.index("a_former_metric_s")
    assert "0.25" in table
    assert "int8: a_former_metric_s = 0.25, must be at most 0.2" in findings(record)
    assert [title for title, _ in further_tables(record)] == [
        "deployment on Foundry Local",
        "by kind of question",
        "right answers by prompt length",
        "latency by prompt length",
    ]
    assert "a_former_metric_s" in comparison_markdown(record)


def test_a_migrated_record_can_be_kept_as_one_of_this_version(tmp_path):
    folder = Path(shutil.copytree(VERSION_1, tmp_path / "run"))
    record = load_record(folder)
    save_record(record, folder)
    assert load_record(folder) == record


def test_latest_points_at_the_newest_run(tmp_path):
    for run_id in ("a", "b"):
        (tmp_path / run_id).mkdir()
        point_latest(tmp_path, run_id)
    assert (tmp_path / "latest").resolve() == tmp_path / "b"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "latest"]


def test_samples_of_the_recorder_go_through_the_registry(tmp_path):
    recorder = Recorder(tmp_path / "run", "main")
    recorder.samples("int4", "kld_nats", [0.5])
    with pytest.raises(ValueError, match="no kind of samples"):
        recorder.samples("int4", "../../elsewhere", [0.5])
