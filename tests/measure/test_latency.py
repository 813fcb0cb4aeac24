from dataclasses import replace

import pytest

from harness.config.settings import BenchmarkSettings
from harness.errors import MeasureError
from harness.measure.latency import (
    LatencyProbe,
    latency_conversation,
    measure_latency,
    measure_longer_latency,
    plain_rounds,
    summarise_latency,
)
from harness.pack.load import load_pack
from harness.runtime.fake import FakeSession
from harness.runtime.session import TokenTimeline


def line(start, *tokens, prompt=10):
    return TokenTimeline(start_s=start, token_s=tokens, prompt_tokens=prompt)


def values_of(estimates):
    return {name: estimate.value for name, estimate in estimates.items()}


def test_one_request_by_hand():
    # first token after 0.5 s, then gaps of 0.1, 0.3: TPOT 0.2, end to end 0.9
    values = values_of(summarise_latency([line(1.0, 1.5, 1.6, 1.9)]))
    assert values["ttft_p50_s"] == values["ttft_p95_s"] == pytest.approx(0.5)
    assert values["itl_p50_s"] == pytest.approx(0.2)
    assert values["tpot_mean_s"] == pytest.approx(0.2)
    assert values["e2e_p50_s"] == values["e2e_p95_s"] == pytest.approx(0.9)
    assert values["prefill_tokens_per_second"] == pytest.approx(20)
    assert values["decode_tokens_per_second"] == pytest.approx(5)


def test_gaps_are_pooled_over_requests_and_tpot_is_per_request():
    values = values_of(summarise_latency([line(0, 1, 2), line(0, 1, 4, 7)]))
    assert values["itl_p50_s"] == pytest.approx(3)  # of 1, 3, 3
    assert values["tpot_mean_s"] == pytest.approx(2)  # of 1 and 3


def test_intervals_are_over_requests():
    found = summarise_latency([line(0, n, n + 1, n + 2) for n in range(1, 21)])
    median = found["ttft_p50_s"]
    assert (median.low, median.value, median.high, median.n) == (6, 10.5, 15, 20)  # the ranks of Conover's table A3
    assert found["ttft_p95_s"].high is None  # 20 requests do not tell how slow the slowest are
    assert (found["itl_p95_s"].n, found["itl_p95_s"].low, found["itl_p95_s"].high) == (20, 1, 1)
    rate = found["prefill_tokens_per_second"]
    assert (rate.low, rate.high) == (pytest.approx(10 / 15), pytest.approx(10 / 6))


def test_a_mean_time_is_never_negative_and_its_rate_is_then_unbounded():
    # TPOT 1 and 3: 2 +- 12.7 x 1
    found = summarise_latency([line(0, 1, 2), line(0, 1, 4, 7)])
    assert found["tpot_mean_s"].low == 0
    rate = found["decode_tokens_per_second"]
    assert (rate.value, rate.high) == (0.5, None)
    assert rate.low == pytest.approx(1 / found["tpot_mean_s"].high)


@pytest.mark.parametrize("timelines", [[], [line(0)]])
def test_without_a_token_everything_is_missing(timelines):
    assert all(estimate.is_missing for estimate in summarise_latency(timelines).values())


def test_one_token_has_no_gap():
    found = summarise_latency([line(0, 1)])
    assert found["ttft_p50_s"].value == 1
    assert all(found[name].is_missing for name in ("itl_p50_s", "tpot_mean_s", "decode_tokens_per_second"))


def test_a_prompt_of_unknown_length_has_no_prefill_rate():
    found = summarise_latency([line(0, 1, 2, prompt=None)])["prefill_tokens_per_second"]
    assert (found.value, found.method) == (None, "the runtime does not tell the prompt's length")


SETTINGS = BenchmarkSettings(prompt_tokens=(100, 120), new_tokens=5, rounds=7, longer_rounds=3, warmup_rounds=2)


def measure(measured, pack_folder, *more, session=None):
    return measured(session or FakeSession(lambda _: "x"), load_pack(pack_folder), SETTINGS, *more, plain_rounds)


def test_the_headline_is_the_first_length_without_its_warm_up(pack_folder):
    found = measure(measure_latency, pack_folder)
    assert [len(rows) for rows in found.samples.values()] == [7]
    assert found.latency == {100: found.measurement.estimates}
    assert found.measurement.estimate("ttft_p95_s").n == 7
    assert found.measurement.details["itl_p95_s"] == "7 requests of 100 + 5 tokens"


def test_a_longer_prompt_is_recorded_and_must_have_been_timed(pack_folder):
    found = measure(measure_longer_latency, pack_folder, 120)
    assert set(found.measurement.estimates) == {"longer_prompts_timed"}
    assert found.measurement.estimate("longer_prompts_timed").value == 1
    assert found.latency[120]["ttft_p50_s"].n == len(found.samples["latency_120"]) == 3


def test_a_runtime_that_shows_no_times_has_not_timed_a_longer_prompt(pack_folder):
    class Timeless(FakeSession):
        def answer(self, messages, **options):
            answer = super().answer(messages, **options)
            return replace(answer, timeline=replace(answer.timeline, token_s=()))

    found = measure(measure_longer_latency, pack_folder, 120, session=Timeless(lambda _: "x"))
    assert found.measurement.estimate("longer_prompts_timed").value == 0


def test_a_prompt_is_as_long_as_asked(pack_folder):
    pack, session = load_pack(pack_folder), FakeSession(lambda _: "x")
    conversation = latency_conversation(session, pack, 120)
    assert 110 <= len(session.encode(session.render(conversation))) <= 120


@pytest.mark.parametrize("tokens", [8, 512])
def test_an_impossible_length_is_refused(pack_folder, tokens):
    with pytest.raises(MeasureError, match="no prompt of"):
        latency_conversation(FakeSession(lambda _: "x"), load_pack(pack_folder), tokens)


def test_the_probe_keeps_every_timeline_of_equal_work():
    probe = LatencyProbe(
        session=FakeSession(lambda _: "x"), conversation=[{"role": "user", "content": "q"}], new_tokens=5
    )
    probe()
    probe()
    assert [len(timeline.token_s) for timeline in probe.timelines] == [5, 5]
