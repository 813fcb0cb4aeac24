import pytest

from harness.errors import MeasureError
from harness.measure.latency import LatencyProbe, latency_conversation, percentile, summarise_latency
from harness.pack.pack import load_pack
from harness.runtime.fake import FakeSession
from harness.runtime.session import TokenTimeline


def line(start, *tokens, prompt=10):
    return TokenTimeline(start_s=start, token_s=tokens, prompt_tokens=prompt)


def test_one_request_by_hand():
    # first token after 0.5 s, then gaps of 0.1, 0.3: TPOT 0.2, end to end 0.9
    values = summarise_latency([line(1.0, 1.5, 1.6, 1.9)])
    assert values["ttft_p50_s"] == values["ttft_p95_s"] == pytest.approx(0.5)
    assert values["itl_p50_s"] == pytest.approx(0.2)
    assert values["tpot_mean_s"] == pytest.approx(0.2)
    assert values["e2e_p50_s"] == pytest.approx(0.9)
    assert values["prefill_tokens_per_second"] == pytest.approx(20)
    assert values["decode_tokens_per_second"] == pytest.approx(5)


def test_gaps_are_pooled_over_requests_and_tpot_is_per_request():
    values = summarise_latency([line(0, 1, 2), line(0, 1, 4, 7)])
    assert values["itl_p50_s"] == pytest.approx(3)  # of 1, 3, 3
    assert values["tpot_mean_s"] == pytest.approx(2)  # of 1 and 3


def test_nothing_is_none_and_not_zero():
    assert set(summarise_latency([]).values()) == {None}
    assert set(summarise_latency([line(0)]).values()) == {None}


def test_one_token_has_no_gap():
    values = summarise_latency([line(0, 1)])
    assert (values["ttft_p50_s"], values["tpot_mean_s"], values["decode_tokens_per_second"]) == (1, None, None)


@pytest.mark.parametrize(
    ("values", "percent", "expected"), [([], 50, None), ([3], 95, 3), ([1, 2], 50, 1.5), ([1, 2, 3], 95, 2.9)]
)
def test_percentiles_interpolate_linearly(values, percent, expected):
    assert percentile(values, percent) == (None if expected is None else pytest.approx(expected))


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
