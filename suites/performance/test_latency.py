"""Answers come fast enough: TTFT, ITL, TPOT, end-to-end, prefill and decode rates at several prompt lengths."""

import pytest

pytestmark = pytest.mark.alone


def test_answers_come_fast_enough(judge, latency):
    judge(latency, "ttft_p95_s", "itl_p95_s", "decode_tokens_per_second")


def test_longer_prompts_are_timed(judge, longer_latency):
    judge(longer_latency, "longer_prompts_timed")
