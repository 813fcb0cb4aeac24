import re
import tomllib
from dataclasses import replace

import pytest

from harness.checks.draft import Unconfirmed, draft_limits, drafted, gate_text
from harness.config.limits import Limit, limit_problem
from harness.config.profiles import HERE, PROFILES
from harness.metrics.catalogue import METRICS
from harness.stats.estimate import Estimate
from harness.stats.proportions import proportion

LAPTOP = PROFILES["laptop"]


def by_metric(**more):
    return {limit.metric: limit for limit in draft_limits(LAPTOP, ("int4",), **more)}


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_every_drafted_limit_can_decide(profile):
    for limit in draft_limits(profile, ("int4", "int8", "fp16")):
        made = Limit.model_validate({limit.bound: limit.value, "reason": limit.reason})
        assert limit_problem(METRICS[limit.metric], made) is None


def test_limits_follow_from_what_the_source_model_reaches():
    # Wilson's lower end for 95 of 100 is 88.8 %, the upper end for 1 of 100 is 5.4 %
    source = {
        "exact_match_rate": proportion([True] * 95 + [False] * 5),
        "truncated_answer_rate": proportion([True] + [False] * 99),
        "length_drop_points": Estimate(value=7.5, low=0.0, high=20.0, confidence=0.95, n=40),
    }
    found = by_metric(source=source)
    assert found["exact_match_rate"].value == pytest.approx(0.88)
    assert "the source model has 95.0 % of 100" in found["exact_match_rate"].reason
    assert found["truncated_answer_rate"].value == pytest.approx(0.06)
    assert found["length_drop_points"].value == 18
    assert "loses 7.5 points itself" in found["length_drop_points"].reason
    assert found["out_of_scope_rate"].value == by_metric()["out_of_scope_rate"].value


WEAK = {
    "a rate": ("exact_match_rate", proportion([True] * 60 + [False] * 40), "misses it: 60.0 % of 100 questions"),
    "answers that do not end": ("truncated_answer_rate", proportion([True] * 9 + [False] * 91), "misses it: 9.0 %"),
    "a drop": (
        "length_drop_points",
        Estimate(value=15.0, low=-0.4, high=32.8, confidence=0.95, n=40),
        "misses it: it loses 15.0 points",
    ),
}


@pytest.mark.parametrize(("metric", "reached", "told"), WEAK.values(), ids=WEAK)
def test_a_weakness_of_the_source_is_told_and_not_made_a_limit(metric, reached, told):
    found = by_metric(source={metric: reached})[metric]
    assert found.value == by_metric()[metric].value
    assert told in found.reason


def test_no_reason_speaks_of_a_number_of_questions_that_its_owner_may_change():
    drop = Estimate(value=7.5, low=0.0, high=20.0, confidence=0.95, n=40)
    for limits in (by_metric(), by_metric(source={"length_drop_points": drop})):
        assert not re.search(r"\b(forty|dozen|40|12)\b", limits["length_drop_points"].reason)
        assert not re.search(r"\b(forty|dozen|40|12)\b", limits["edge_case_rate"].reason)


def test_a_devices_numbers_are_written_down_where_no_name_stands_for_them():
    here = replace(LAPTOP, name=HERE)
    found = {limit.metric: limit for limit in draft_limits(here, ())}
    assert found["peak_rss_bytes"].value == 4 * 2**30
    assert set(LAPTOP.limits) <= set(found)
    assert not set(LAPTOP.limits) & set(by_metric())


def test_what_a_pack_does_not_ask_for_is_left_out():
    assert "json_valid_rate" not in by_metric(absent={"json_valid_rate"})


def test_the_file_is_toml_whatever_stands_in_it():
    text = gate_text(
        model='C:\\models\\"mine"',
        pack="p",
        name="n",
        precisions=("int4",),
        profile=LAPTOP,
        limits=draft_limits(LAPTOP, ("int4",)),
    )
    read = tomllib.loads(text)
    assert read["model"]["source"] == 'C:\\models\\"mine"'
    assert read["device"] == {"profile": "laptop"}
    assert read["precisions"]["int4"]["limits"]["answer_kld_mean_nats"]["max"] == pytest.approx(0.35)


def test_a_draft_is_told_by_the_variants_that_it_judges():
    wide, narrow = (Limit(max=value, reason="drafted: by precision") for value in (0.35, 0.002))
    common, own = Limit(min=0.9, reason="drafted: for all"), Limit(min=0.9, reason="our own number")
    of_int4 = {"answer_kld_mean_nats": wide, "exact_match_rate": common, "json_valid_rate": own}
    found = drafted({"int4": of_int4, "fp16": {**of_int4, "answer_kld_mean_nats": narrow}})
    assert found == (
        Unconfirmed(metric="answer_kld_mean_nats", limit=wide, variants=("int4",)),
        Unconfirmed(metric="answer_kld_mean_nats", limit=narrow, variants=("fp16",)),
        Unconfirmed(metric="exact_match_rate", limit=common, variants=()),
    )
