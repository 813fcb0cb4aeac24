"""The tables of a record, and the sentences below them."""

import pytest

from harness.checks.check import Check
from harness.config.limits import Limit
from harness.config.settings import GateConfig
from harness.measure.wrong_answers import WrongAnswer, WrongAnswers
from harness.pack.remarks import INFERRED
from harness.report.answer_tables import length_table, wrong_tables
from harness.report.build import build_record
from harness.report.findings import findings, recommendation, verdict_line
from harness.report.notes import warnings
from harness.report.performance_tables import latency_by_length
from harness.report.recorder import Recorder
from harness.report.table import (
    comparison_markdown,
    comparison_table,
    further_tables,
    interval_table,
)
from harness.stats.estimate import Estimate
from tests.report.runs import end, judge, start


def test_tables_show_what_was_measured(run_folder):
    record = end(run_folder)
    table = comparison_table(record)
    assert "50.0 %" in table
    assert "FAIL" in table
    assert "kld_mean_nats" not in table  # never measured: no row of dashes
    assert recommendation(record) == "recommended: int8, the smallest variant that passes (2.0 KiB)"
    assert findings(record)[0] == "int4: exact_match_rate = 50.0 %, must be at least 90.0 %"


def test_what_the_source_warns_of_is_shown_and_decides_nothing(run_folder):
    Recorder(run_folder, "main").run(model={"spec": "m", "remarks": ["answers may <b>never</b> end"]})
    record = end(run_folder)
    assert warnings(record) == ["warning: answers may <b>never</b> end"]
    assert "warning: answers may &lt;b>never&lt;/b> end" in comparison_markdown(record)
    assert not any("never" in line for line in findings(record))


def test_limits_that_were_chosen_for_another_model_are_told_to_judge_nothing(run_folder):
    config = GateConfig.model_validate(
        {
            "model": {"source": "mine"},
            "configured_source": "demo",
            "variants": {"int8": {"recipe": "int8"}},
            "domain": {"pack": "pack"},
            "limits": {"size_bytes": {"max": 1e6, "reason": "the update channel"}},
        }
    )
    Recorder(run_folder, "main").run(config=config)
    (told,) = warnings(end(run_folder))
    assert told.startswith(
        "warning: measured and not judged, as never chosen for this model: size_bytes: name a device"
    )
    assert "slm-gate init" in told


def test_prompt_lengths_stand_in_order_whoever_measured_first(run_folder):
    log = Recorder(run_folder, "gw1")
    for prompt_tokens in (1024, 256):
        log.latency("int8", prompt_tokens, {"ttft_p50_s": Estimate.exact(0.2)})
    rows = [line.split() for line in latency_by_length(build_record(run_folder)).splitlines()]
    lengths = [int(row[1]) for row in rows if row[0] == "int8"]
    assert lengths == sorted(lengths)
    assert {256, 1024} <= set(lengths)


def test_model_output_cannot_break_the_markdown(run_folder):
    Recorder(run_folder, "main").problem("int8", "test_x", "<script>alert(1)</script> | `x`")
    text = comparison_markdown(build_record(run_folder))
    assert "<script>" not in text
    assert "\\|" in text


LEVEL = {
    "clients": 4, "requests": 8, "errors": 1, "same": 7, "requests_per_second": 120.0, "tokens_per_second": 3000.0,
    "ttft_p50_s": 0.03, "ttft_p95_s": 0.05, "itl_p50_s": 0.001, "itl_p95_s": None,
}  # fmt: skip


def test_deployment_and_load_have_tables_of_their_own_once_they_were_measured(run_folder):
    assert [title for title, _ in further_tables(build_record(run_folder))] == ["latency by prompt length"]
    events = Recorder(run_folder, "main")
    must_be = Limit(min=1.0, reason="because it must")
    for metric, value in (
        ("foundry_lists_model", 1.0),
        ("foundry_loads_model", 0.0),
        ("foundry_same_answer_rate", 1.0),
    ):
        judge(events, "int8", value, metric, must_be)
    for metric, value in (("foundry_http_same_answer_rate", 1), ("foundry_stream_same_answer_rate", 0.9)):
        judge(events, "int8", value, metric, must_be)
    events.details("int8", "load", [LEVEL])
    tables = dict(further_tables(build_record(run_folder)))
    assert tables["deployment on Foundry Local"].splitlines()[-1].split() == [
        "int8",
        "yes",
        "NO",
        "-",
        "yes",
        "NO",
        *"----",
    ]
    row = tables["load on the web service"].splitlines()[-1]
    cells = ["-", "120/s", "-", "3,000/s", "30 ms", "50 ms", "-", "-", "1 ms", "-", "-"]
    assert row.split() == ["int8", "4", "8", "1", "7", *" ".join(cells).split()]
    assert "## Load on the web service" in comparison_markdown(build_record(run_folder))


RATE = Estimate(value=0.92, low=0.81, high=0.97, confidence=0.95, n=1050, method="Wilson score")


def test_intervals_have_a_table_of_their_own(run_folder):
    recorder = Recorder(run_folder, "main")
    assert interval_table(build_record(run_folder)) == ""
    recorder.metrics("int8", {"exact_match_rate": RATE, "kld_mean_nats": Estimate(value=0.5, high=0.9, confidence=0.9)})
    record = end(run_folder)
    rows = [line.split("  ") for line in interval_table(record).splitlines()[2:]]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert cells == [
        ["exact_match_rate", "int8", "92.0 %", "81.0 %", "97.0 %", "95 %", "1,050", "Wilson score"],
        ["kld_mean_nats", "int8", "0.500", "-", "0.900", "90 %", "-", "exact"],
    ]
    assert "## Intervals" in comparison_markdown(record)


def test_nothing_is_shown_as_less_than_zero_that_rounds_to_it(run_folder):
    Recorder(run_folder, "main").metrics("int8", {"exact_match_loss_points": Estimate.exact(-0.01)})
    table = comparison_table(build_record(run_folder))
    assert "0.0 pt" in table
    assert "-0.0" not in table


def test_a_run_of_a_part_says_so_loudly(tmp_path):
    start(tmp_path / "run", part="suites/performance -k cpu")
    assert recommendation(end(tmp_path / "run")) == (
        "INCOMPLETE: only a part of the gate was asked for (suites/performance -k cpu), so nothing is recommended"
    )


def test_unusable_input_is_told_instead_of_a_recommendation(tmp_path):
    start(tmp_path / "run").run(unusable="no such folder\n  where: /nowhere")
    assert recommendation(end(tmp_path / "run")) == "nothing was gated: no such folder"


def test_findings_stay_readable(tmp_path):
    reason = "because it must"
    limits = {f"{part}_p{n}_s": Limit(max=1, reason=reason) for part in ("ttft", "itl") for n in (50, 95)}
    limits |= {f"load_{name}": Limit(max=1, reason=reason) for name in ("a", "b", "c", "d")}
    start(tmp_path / "run", {"int4": limits}).problem(None, "pytest", "")
    assert findings(end(tmp_path / "run")) == [
        "pytest: it says nothing",
        "int4: never judged: ttft_p50_s, ttft_p95_s, itl_p50_s, itl_p95_s, load_a, load_b and 2 more",
    ]


@pytest.mark.parametrize(
    ("estimate", "told"),
    [
        (Estimate.missing("no request came back"), "no data is not a pass (no request came back)"),
        (Estimate(value=0.92, low=0.8, high=0.97, confidence=0.95, n=50), "observations instead of 50"),
    ],
)
def test_what_could_not_be_decided_says_why(tmp_path, estimate, told):
    limit = Limit(min=0.9, reason="because it must", judge="bound")
    recorder = start(tmp_path / "run", {"int4": {"exact_match_rate": limit}})
    judge(recorder, "int4", estimate, limit=limit)
    (line,) = findings(end(tmp_path / "run"))
    assert told in line


BY_KIND = Limit(min=0.8, reason="because it must", kinds={"refund": {"min": 0.9}})


def of_kinds(folder, *kinds):
    recorder = start(folder, {"int4": {"exact_match_rate": BY_KIND}})
    judge(recorder, "int4", 0.95, limit=BY_KIND)
    rates = {"refund": Estimate(value=0.5, low=0.24, high=0.76, confidence=0.95, n=10), "a|<b>": Estimate.exact(1.0)}
    recorder.details("int4", "exact_match_by_kind", rates)
    for kind in kinds:
        limit = BY_KIND.of_kind(kind)
        recorder.check(Check(variant="int4", metric="exact_match_rate", kind=kind, estimate=rates[kind], limit=limit))
    return end(folder)


def test_kinds_have_a_table_with_their_limits_and_intervals(tmp_path):
    record = of_kinds(tmp_path / "run", "refund")
    titles = dict(further_tables(record))
    line = next(line for line in titles["by kind of question"].splitlines() if line.startswith("refund"))
    assert line.split("  ")[-1].strip() == "50.0 % (24.0 % to 76.0 %, n 10)"
    assert "at least 90.0 %" in line
    assert "a\\|&lt;b>" in titles["by kind of question"]
    assert record.variants["int4"].verdict == "fail"
    interval = "(95 % interval 24.0 % to 76.0 %)"
    assert findings(record) == [f"int4: exact_match_rate[refund] = 50.0 % {interval}, must be at least 90.0 %"]


def test_a_kind_that_was_never_judged_leaves_the_variant_incomplete(tmp_path):
    record = of_kinds(tmp_path / "run")
    assert record.variants["int4"].verdict == "incomplete"
    assert findings(record) == ["int4: never judged: exact_match_rate[refund]"]


def test_drafts_are_told_with_their_reasons_until_somebody_confirms_them(tmp_path):
    limits = {
        "exact_match_rate": Limit(
            min=0.9, reason="drafted: nine right answers in ten; say what your users put up with"
        ),
        "json_valid_rate": Limit(min=0.9, reason="our own number"),
    }
    start(tmp_path / "run", {"int4": limits, "int8": limits}).run(
        domain={
            "name": "parts",
            "reading": ["messages.jsonl: 9 rows"],
            "remarks": [f"a.toml: {INFERRED}; read it", "few"],
        }
    )
    record = end(tmp_path / "run")
    first, second = warnings(record)
    assert first == f"warning: a.toml: {INFERRED}; read it"
    assert second.startswith(
        "warning: 1 of the limits are only drafted, and confirmed by nobody: exact_match_rate: put your own"
    )
    page = comparison_markdown(record)
    assert "| exact_match_rate | at least 90.0 % | drafted: nine right answers in ten; say what your" in page
    assert "* messages.jsonl: 9 rows" in page
    assert "* note: few" in page


def test_what_a_tokenizer_shows_of_the_questions_is_told_once(tmp_path):
    recorder = start(tmp_path / "run")
    for variant in ("int4", "int8"):
        recorder.details(variant, "token_remarks", ["domain.toml: steps leave no room; they are left out"])
    assert warnings(end(tmp_path / "run")) == ["warning: domain.toml: steps leave no room; they are left out"]


def test_the_verdict_counts_what_stands_behind_it_and_one_cause_is_told_once(tmp_path):
    names = ("ttft_p95_s", "itl_p95_s", "load_s")
    limits = {name: Limit(max=1.0, reason="because it must") for name in names} | {"exact_match_rate": BY_KIND}
    recorder = start(tmp_path / "run", {"int4": limits})
    for name in names:
        judge(recorder, "int4", Estimate.missing("invalid: busy"), name, limits[name])
    judge(recorder, "int4", 0.5)
    recorder.problem("int4", "test_x", "it broke")
    recorder.skipped("int4", "test_y", "not today")
    record = end(tmp_path / "run")
    counted = "1 failed, 3 without data, 1 could not run, 1 did not run"
    assert verdict_line("int4", record.variants["int4"]) == f"int4: FAIL ({counted})"
    assert [line for line in findings(record) if "busy" in line] == [
        "int4: ttft_p95_s, itl_p95_s, load_s: no data is not a pass (invalid: busy)"
    ]


def test_a_pass_is_one_word(run_folder):
    assert verdict_line("int8", end(run_folder).variants["int8"]) == "int8: PASS"


def test_where_nothing_was_judged_no_variant_is_said_to_have_failed(tmp_path):
    start(tmp_path / "run")
    assert recommendation(end(tmp_path / "run")) == "recommended: none, as nothing was judged"


RATES = {0: Estimate.exact(1.0, n=40), 600: Estimate.exact(0.875, n=40)}


def test_right_answers_by_prompt_length_have_a_table_also_where_they_pass(run_folder):
    recorder = Recorder(run_folder, "main")
    assert length_table(build_record(run_folder)) == ""
    recorder.details("int8", "exact_match_by_padding_tokens", RATES)
    recorder.details("int8", "source_exact_match_by_padding_tokens", {0: Estimate.exact(1.0, n=40)})
    record = end(run_folder)
    table = dict(further_tables(record))["right answers by prompt length"].splitlines()
    assert table[0].split()[-2:] == ["source", "int8"]
    assert table[-1].split("  ")[-1].strip() == "87.5 % of 40"
    assert table[-1].split()[:2] == ["600", "-"]
    assert "## Right answers by prompt length" in comparison_markdown(record)


def test_wrong_answers_are_shown_also_where_the_check_passed(run_folder):
    one = WrongAnswer(case_id="a", kind="k", asked="'<b>?'", expected="'x'", said="'y'", is_source_wrong=True)
    recorder = Recorder(run_folder, "main")
    recorder.details("int8", "wrong_answers", WrongAnswers(answers=9, wrong=7, shown=(one,)))
    recorder.details("int4", "wrong_answers", WrongAnswers(answers=9, wrong=0, shown=()))
    record = end(run_folder)
    assert [title for title, _ in wrong_tables(record)] == ["wrong answers of int8: 7 of 9, 1 of them"]
    page = comparison_markdown(record)
    assert "## Wrong answers of int8: 7 of 9, 1 of them" in page
    assert "| a      | k      | '&lt;b>?' | 'x'        | 'y'    | wrong too" in page


def test_a_value_that_fails_within_its_interval_says_what_would_decide_and_how_to_get_it(tmp_path):
    limit = Limit(max=10.0, reason="because it must")
    recorder = start(tmp_path / "run", {"int4": {"length_drop_points": limit}})
    drop = Estimate(value=12.5, low=-2.3, high=29.8, confidence=0.95, n=40, method="a test")
    more = "40 of 147 questions were asked: `[length] cases = 147` in domain.toml asks all"
    recorder.check(Check(variant="int4", metric="length_drop_points", estimate=drop, limit=limit, more=more))
    (line,) = findings(end(tmp_path / "run"))
    assert line.endswith(
        "must be at most 10.0 pt: failed by its value, and the interval reaches across the limit (value judged); "
        f"about 1,402 observations instead of 40, if the value stays, would decide; {more}"
    )
