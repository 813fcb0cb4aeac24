"""Answering leaves the device usable, and computes with the threads that were asked for."""

import pytest

pytestmark = pytest.mark.alone


def test_cpu_utilization_is_bounded(judge, resources):
    judge(resources, "cpu_utilization", "cpu_seconds_per_token", "token_joules")


def test_threads_are_those_that_were_asked_for(judge, resources):
    judge(resources, "threads_as_asked")
