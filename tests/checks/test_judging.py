"""What a pack does not ask for is neither judged nor demanded; anything else that is missing is."""

import pytest

from harness.checks.check import Outcome
from harness.checks.judging import applicable, checks_of, require_known_kinds
from harness.config.default_limits import default_limits
from harness.config.limits import Limit
from harness.config.load import load_config
from harness.errors import ConfigError
from harness.metrics.catalogue import UnknownMetricError
from harness.metrics.measurement import Measurement
from harness.pack.load import load_pack
from harness.stats.estimate import Estimate

LIMIT = Limit(min=0.9, reason="a limit for a test")
LIMITS = dict.fromkeys(("exact_match_rate", "json_valid_rate", "edge_case_rate", "out_of_scope_rate"), LIMIT)


@pytest.fixture
def pack(pack_folder):
    return load_pack(pack_folder)


@pytest.fixture
def free_text(pack):
    return pack.model_copy(update={"response_schema": None, "edge_cases": pack.edge_cases[:1]})


def judged(pack, metric, estimate):
    measurement = Measurement(estimates={metric: estimate}, details={metric: "so many"})
    return checks_of("int8", measurement, [metric], LIMITS, pack)


def test_a_pack_with_everything_is_judged_by_everything(pack):
    assert applicable(LIMITS, pack) == LIMITS


def test_a_pack_without_a_form_is_not_judged_by_it(free_text):
    assert set(applicable(LIMITS, free_text)) == {"exact_match_rate", "out_of_scope_rate"}


def test_a_pack_without_foreign_questions_demands_no_declining(pack):
    in_scope = pack.model_copy(update={"cases": pack.cases[:8]})
    assert "out_of_scope_rate" not in applicable(LIMITS, in_scope)


@pytest.mark.parametrize("metric", ["json_valid_rate", "edge_case_rate"])
def test_what_is_missing_because_it_was_not_asked_has_no_check(free_text, metric):
    assert judged(free_text, metric, Estimate.missing("no form")) == []


def test_what_was_measured_all_the_same_is_judged(free_text):
    (check,) = judged(free_text, "edge_case_rate", Estimate.exact(0.0))
    assert check.outcome is Outcome.FAIL


def test_a_default_judges_what_was_measured_and_demands_nothing(pack):
    limits = default_limits("int4")
    assert applicable(limits, pack) == {}

    def judged_by_default(estimate):
        measurement = Measurement(estimates={"answer_top1_agreement": estimate})
        return checks_of("int4", measurement, ["answer_top1_agreement"], limits, pack)

    assert judged_by_default(Estimate.missing("no right answer")) == []
    assert [one.outcome for one in judged_by_default(Estimate.exact(0.5))] == [Outcome.FAIL]
    assert [one.outcome for one in judged_by_default(Estimate.exact(0.8))] == [Outcome.PASS]
    assert [one.outcome for one in judged_by_default(Estimate.exact(float("nan")))] == [Outcome.NO_DATA]


def test_what_is_missing_for_any_other_reason_fails(pack):
    (check,) = judged(pack, "json_valid_rate", Estimate.missing("nobody answered"))
    assert check.outcome is Outcome.NO_DATA
    assert check.details == "so many"


def test_a_metric_without_a_limit_has_no_check_and_a_mistyped_one_is_an_error(pack):
    measurement = Measurement(estimates={})
    assert checks_of("int8", measurement, ["load_s"], LIMITS, pack) == []
    with pytest.raises(UnknownMetricError, match="did you mean 'exact_match_rate'"):
        checks_of("int8", measurement, ["exact_match_rat"], LIMITS, pack)


BY_KIND = Limit(min=0.9, reason="a limit for a test", kinds={"part": {"min": 0.5, "reason": "parts are hard"}})
OF_KINDS = Measurement(
    estimates={"exact_match_rate": Estimate.exact(0.95)},
    of_kinds={"part": Measurement(estimates={"exact_match_rate": Estimate.exact(0.4)}, details={"exact_match_rate": "3 of 5 fail"})},
)  # fmt: skip


def test_a_kind_with_a_limit_of_its_own_has_a_check_of_its_own(pack):
    whole, part = checks_of("int8", OF_KINDS, ["exact_match_rate"], {"exact_match_rate": BY_KIND}, pack)
    assert (whole.name, whole.outcome) == ("exact_match_rate", Outcome.PASS)
    assert (part.name, part.kind, part.outcome) == ("exact_match_rate[part]", "part", Outcome.FAIL)
    assert part.headline == "int8: exact_match_rate[part] = 40.0 %, must be at least 50.0 %"
    assert "reason: parts are hard" in part.explanation
    assert "3 of 5 fail" in part.explanation
    assert part.properties()["int8.exact_match_rate[part].limit"] == 0.5


def test_a_kind_that_was_not_measured_does_not_pass(pack):
    found = Measurement(estimates={"exact_match_rate": Estimate.exact(1.0)})
    _, part = checks_of("int8", found, ["exact_match_rate"], {"exact_match_rate": BY_KIND}, pack)
    assert part.outcome is Outcome.NO_DATA


UNKNOWN_KINDS = {
    "a slip": ("exact_match_rate", "prat", "counts no case of this kind (did you mean 'part'?)", "part"),
    "another's": ("truncated_answer_rate", "refund", "counts no case of this kind", "part, out_of_scope"),
    "what is out of scope": ("exact_match_rate", "out_of_scope", "counts no case of this kind", "part"),
    "of no case of the split": ("exact_match_final_rate", "code", "counts no case of this kind", "part"),
}


@pytest.mark.parametrize(("metric", "kind", "what", "kinds"), UNKNOWN_KINDS.values(), ids=UNKNOWN_KINDS)
def test_a_limit_on_a_kind_that_no_case_is_of_is_refused(pack, tmp_path, metric, kind, what, kinds):
    file = tmp_path / "gate.toml"
    file.write_text(
        gate(
            f'[limits.{metric}]\n{bound(metric)}\nreason = "for a test"\n\n[limits.{metric}.kinds]\n{kind} = {{ {bound(metric)} }}\n'
        )
    )
    with pytest.raises(ConfigError) as caught:
        require_known_kinds(load_config(file), pack, file)
    message = str(caught.value)
    assert f"limits.{metric}.kinds.{kind}: {metric} {what}" in message
    assert f"gate.toml, line {file.read_text().split(f'{kind} =')[0].count(chr(10)) + 1}" in message
    assert f"it counts the kinds {kinds} of" in message


def bound(metric):
    return "max = 0.1" if metric == "truncated_answer_rate" else "min = 0.5"


def gate(limits):
    return f'[model]\nsource = "m"\n[domain]\npack = "p"\n[variants.int4]\nrecipe = "int4"\n{limits}'


def test_a_known_kind_is_taken(pack, tmp_path):
    file = tmp_path / "gate.toml"
    file.write_text(
        gate('[limits.exact_match_rate]\nmin = 0.5\nreason = "for a test"\nkinds = { part = { min = 0.4 } }\n')
    )
    config = load_config(file)
    require_known_kinds(config, pack, file)
    assert config.limits_for("int4")["exact_match_rate"].of_kind("part") == Limit(min=0.4, reason="for a test")


WRONG_KINDS = {
    "the wrong way": ("exact_match_rate", "part = { max = 0.5 }", "did you mean min = 0.5"),
    "per cent": ("exact_match_rate", "part = { min = 95 }", "did you mean min = 0.95"),
    "two bounds": ("exact_match_rate", "part = { min = 0.1, max = 0.5 }", "exactly one of min and max"),
    "not by kind": ("edge_case_rate", "part = { min = 0.5 }", "is not measured by kind"),
    "a slip": ("exact_match_rate", "part = { mim = 0.5 }", "did you mean 'min'"),
}


@pytest.mark.parametrize(("metric", "line", "what"), WRONG_KINDS.values(), ids=WRONG_KINDS)
def test_a_limit_of_a_kind_is_read_like_any_other(tmp_path, metric, line, what):
    file = tmp_path / "gate.toml"
    file.write_text(gate(f'[limits.{metric}]\nmin = 0.5\nreason = "for a test"\n[limits.{metric}.kinds]\n{line}\n'))
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert what in str(caught.value)
    assert "gate.toml, line " in str(caught.value)
