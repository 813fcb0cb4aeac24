"""Only a model that misses a limit by far is told early; whoever is near it is left to the measurement."""

import pytest

from harness.config.limits import Limit
from harness.measure.slowness import remark_of, slow_remark
from harness.pack.load import load_pack
from harness.runtime.fake import FakeSession
from harness.runtime.session import TokenTimeline

LIMITS = {
    "ttft_p95_s": Limit(max=0.5, reason="a user waits"),
    "itl_p95_s": Limit(max=0.1, reason="a user reads"),
    "decode_tokens_per_second": Limit(min=20.0, reason="a user reads"),
    "json_valid_rate": Limit(min=0.9, reason="of another kind"),
}


def timeline(first_s, between_s, tokens=4):
    times = tuple(first_s + number * between_s for number in range(tokens))
    return TokenTimeline(start_s=0.0, token_s=times, prompt_tokens=8)


@pytest.mark.parametrize(
    ("first_s", "between_s", "told"),
    [
        (0.1, 0.01, ()),
        (0.6, 0.06, ()),  # beyond two limits, and not by far
        (2.0, 0.01, ("ttft_p95_s",)),
        (0.1, 0.2, ("decode_tokens_per_second",)),
        (5.0, 1.0, ("ttft_p95_s", "itl_p95_s", "decode_tokens_per_second")),
    ],
)
def test_what_is_far_beyond_a_limit_is_named(first_s, between_s, told):
    remark = remark_of([timeline(first_s, between_s)] * 3, LIMITS)
    assert (remark is None) == (not told)
    assert all(name in (remark or "") for name in told)


def test_one_slow_answer_of_three_tells_nothing():
    assert remark_of([timeline(9.0, 1.0), timeline(0.1, 0.01), timeline(0.1, 0.01)], LIMITS) is None


@pytest.mark.parametrize("limits", [{}, {"json_valid_rate": LIMITS["json_valid_rate"]}])
def test_without_a_limit_on_speed_nothing_is_too_slow(limits):
    assert remark_of([timeline(60.0, 10.0)], limits) is None


def test_answers_without_times_tell_nothing(pack_folder):
    assert remark_of([timeline(1.0, 1.0, tokens=1)], LIMITS) is None
    assert remark_of([], LIMITS) is None
    assert slow_remark(FakeSession(lambda _: ""), load_pack(pack_folder), LIMITS) is None
