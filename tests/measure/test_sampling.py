import collections
import json
import random

import pytest

from harness.config.limits import Limit
from harness.measure.asking import ask_cases
from harness.measure.quality import measure_quality
from harness.measure.sampling import UntilDecided, balanced
from harness.pack.load import load_pack
from harness.runtime.fake import FakeSession
from tests.conftest import write_pack

LIMITS = {
    "exact_match_rate": Limit(min=0.8, reason="because it must"),
    "exact_match_loss_points": Limit(max=10.0, reason="because it must"),
}
COUNT = 400


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    cases = [
        {"id": f"c{n}", "kind": ("part", "code", "rare")[0 if n % 10 else 2 if n % 50 else 1],
         "messages": [{"role": "user", "content": f"part {n}?"}], "expected": {"status": "ok", "part": str(n)}}
        for n in range(COUNT)
    ]  # fmt: skip
    return load_pack(write_pack(tmp_path_factory.mktemp("pack"), cases_jsonl="\n".join(map(json.dumps, cases))))


class Model(FakeSession):
    """Right but for a share of its answers."""

    def __init__(self, wrong=0.0):
        super().__init__(self._say)
        self.asked, self._wrong = 0, wrong

    def _say(self, messages):
        self.asked += 1
        number = messages[-1]["content"].removeprefix("part ").removesuffix("?")
        is_wrong = random.Random(number).random() < self._wrong
        return json.dumps({"status": "ok", "part": "?" if is_wrong else number})


@pytest.fixture(scope="module")
def source(pack):
    return ask_cases(Model(), pack)


def measured(pack, source, model, limits=LIMITS):
    return measure_quality(model, pack, source, until=UntilDecided(limits, source)).measurement


@pytest.mark.parametrize(("wrong", "most"), [(1.0, 24), (0.6, 40), (0.0, 120)])
def test_clear_cases_are_decided_early(pack, source, wrong, most):
    model = Model(wrong)
    found = measured(pack, source, model)
    assert model.asked <= most
    rate = found.estimate("exact_match_rate")
    assert rate.n == model.asked
    assert rate.method == "betting confidence sequence"
    assert rate.low <= 1 - wrong <= rate.high
    assert f"stopped after {model.asked} of {COUNT} cases" in found.details["exact_match_rate"]


def test_near_a_limit_nearly_everything_is_asked(pack, source):
    model = Model(0.12)  # 33 are lost, and 40 may be
    measured(pack, source, model)
    assert model.asked > 0.9 * COUNT


def test_a_bound_is_about_more_than_the_pack(pack, source):
    limits = {"exact_match_rate": Limit(min=0.9, judge="bound", reason="because it must")}
    of_pack, of_any = Model(0.08), Model(0.08)
    measured(pack, source, of_pack, {"exact_match_rate": Limit(min=0.9, reason="because it must")})
    measured(pack, source, of_any, limits)
    assert of_any.asked > of_pack.asked + 50  # of the pack 94 % are right; elsewhere it may be less


def test_a_variant_like_its_source_is_decided_early_however_near_the_source_is_to_a_limit(pack):
    source, model = ask_cases(Model(0.12), pack), Model(0.12)
    of_source = sum(answer.is_exact for answer in source) / COUNT
    found = measured(pack, source, model, {"exact_match_rate": Limit(min=of_source - 0.03, reason="because it must")})
    assert model.asked < 0.5 * COUNT
    rate = found.estimate("exact_match_rate")
    assert rate.value == pytest.approx(of_source)  # of all cases, though some were asked
    assert rate.low < rate.value < rate.high


def test_a_limit_at_the_end_of_the_scale_is_never_kept_early(pack, source):
    perfect = {"exact_match_rate": Limit(min=1.0, reason="because it must")}
    healthy, broken = Model(), Model(1.0)
    measured(pack, source, healthy, perfect)
    measured(pack, source, broken, perfect)
    assert (healthy.asked, broken.asked) == (COUNT, 8)


def test_without_limits_everything_is_asked(pack, source):
    model = Model()
    measured(pack, source, model, {})
    assert model.asked == COUNT


def test_every_beginning_of_the_order_stands_for_the_pack(pack):
    order = [case for together in balanced(pack.cases, 0) for case in together]
    whole = collections.Counter(case.kind for case in pack.cases)
    for length in (50, 100, 200):
        part = collections.Counter(case.kind for case in order[:length])
        assert all(abs(part[kind] - whole[kind] * length / COUNT) <= 1.5 for kind in whole)
    assert balanced(pack.cases, 0) == balanced(pack.cases, 0) != balanced(pack.cases, 1)
    assert sorted(case.id for case in order) == sorted(case.id for case in pack.cases)


def in_conversations(pack, size):
    cases = [case.model_copy(update={"cluster": f"talk {n // size}"}) for n, case in enumerate(pack.cases)]
    return pack.model_copy(update={"cases": tuple(cases)})


def test_a_conversation_is_asked_whole_and_counts_once(pack, source):
    together = in_conversations(pack, 5)
    source = ask_cases(Model(), together)
    for one in balanced(together.cases, 0):
        assert len({case.cluster for case in one}) == 1
        assert len(one) == 5
    model, alone = Model(), Model()
    found = measured(together, source, model)
    measured(pack, ask_cases(Model(), pack), alone)
    assert model.asked % 5 == 0
    assert model.asked > alone.asked  # five answers of one conversation say less than five of five
    assert found.estimate("exact_match_rate").method.startswith("betting confidence sequence over")


def test_the_limit_of_a_kind_is_decided_too(pack, source):
    kinds = {"code": {"min": 0.5}}
    limits = {"exact_match_rate": Limit(min=0.8, reason="because it must", kinds=kinds)}
    plain, with_kind = Model(), Model()
    measured(pack, source, plain, {"exact_match_rate": Limit(min=0.8, reason="because it must")})
    found = measured(pack, source, with_kind, limits)
    assert with_kind.asked > plain.asked  # one case in fifty is of the kind
    assert found.estimate("exact_match_rate", "code").n >= 4  # of eight: more than half of them can be wrong no longer
