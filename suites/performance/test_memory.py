"""The model fits the device: load time, peak memory of a process of its own, what it gives back."""

import pytest

pytestmark = pytest.mark.alone


def test_model_loads_in_time(judge, resources):
    judge(resources, "load_s", "cold_ttft_s")


def test_peak_memory_is_bounded(judge, resources):
    judge(resources, "peak_rss_bytes", "loaded_rss_bytes", "longest_prompt_peak_bytes", "cache_token_bytes")


def test_memory_comes_back(judge, resources):
    judge(resources, "unload_retention_bytes", "unload_retention_trimmed_bytes")
