"""The model fits the device: load time, peak memory of a process of its own."""

import pytest

pytestmark = pytest.mark.alone


def test_model_loads_in_time(judge, resources):
    judge(resources, "load_s")


def test_peak_memory_is_bounded(judge, resources):
    judge(resources, "peak_rss_bytes")
