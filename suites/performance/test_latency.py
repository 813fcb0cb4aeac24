"""Answers come fast enough: times and rates over a grid of prompt and answer lengths, batches and depths."""

import pytest

pytestmark = pytest.mark.alone


def test_answers_come_fast_enough(judge, latency):
    judge(latency, "ttft_p95_s", "itl_p95_s", "decode_tokens_per_second")


def test_the_whole_grid_is_timed(judge, further_latency):
    judge(further_latency, "longer_prompts_timed")
