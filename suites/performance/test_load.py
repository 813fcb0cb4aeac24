"""The web service keeps its word with many clients at once, with clients that hang up, and for many requests."""

import pytest

pytestmark = [pytest.mark.alone, pytest.mark.load]


def test_many_clients_get_a_single_clients_answers(judge, load):
    judge(load, "load_same_answer_rate", "load_requests_per_second", "load_ttft_p95_s")


def test_requests_that_come_at_random_are_answered_in_time(judge, load):
    judge(load, "arrival_good_rate", "arrival_goodput_per_second", "arrival_queue_p95_s", "arrival_ttft_p95_s")


def test_a_client_that_hangs_up_harms_nobody(judge, hanging_up):
    judge(hanging_up, "hung_up_client_harms_nobody")


def test_many_requests_in_a_row_lose_nothing(judge, soak):
    judge(soak, "soak_same_answer_rate", "soak_growth_bytes", "soak_slowdown_ratio")
