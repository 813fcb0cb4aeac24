"""Is a variant worse than it was? Only where `--baseline` names a stored run."""

import pytest

pytestmark = pytest.mark.baseline


def test_right_answers_were_not_lost(judge, answers_against_baseline):
    judge(answers_against_baseline, "baseline_loss_points")


def test_it_is_not_slower(judge, speed_against_baseline):
    judge(speed_against_baseline, "e2e_ratio", "ttft_ratio", "itl_ratio")


def test_it_is_not_larger_on_disk(judge, stored_against_baseline):
    judge(stored_against_baseline, "size_ratio")


def test_it_takes_no_more_memory(judge, stored_against_baseline):
    judge(stored_against_baseline, "peak_rss_ratio")


def test_it_leaks_no_more(judge, stored_against_baseline):
    judge(stored_against_baseline, "leak_increase_bytes_per_request")
