"""Memory does not grow with anything that a runtime is asked, and the runtime frees what it made."""

import pytest

pytestmark = pytest.mark.alone


def test_onnxruntime_genai_does_not_leak(judge, genai_leaks):
    judge(genai_leaks, "leak_bytes_per_request", "leak_bytes_per_token", "leak_bytes_per_session")


def test_onnxruntime_genai_does_not_leak_where_something_ends_early(judge, genai_leaks):
    judge(genai_leaks, "leak_bytes_per_stream", "leak_bytes_per_error", "leak_bytes_per_load")


def test_onnxruntime_genai_reports_no_lost_object(judge, genai_leaks):
    judge(genai_leaks, "runtime_frees_objects")


def test_foundry_local_does_not_leak(judge, foundry_leaks):
    judge(foundry_leaks, "foundry_leak_bytes_per_request", "foundry_leak_bytes_per_token")
    judge(foundry_leaks, "foundry_leak_bytes_per_session")


def test_foundry_local_does_not_leak_where_something_ends_early(judge, foundry_leaks):
    judge(foundry_leaks, "foundry_leak_bytes_per_stream", "foundry_leak_bytes_per_error")
    judge(foundry_leaks, "foundry_leak_bytes_per_load")


def test_foundry_local_reports_no_lost_object(judge, foundry_leaks):
    judge(foundry_leaks, "foundry_frees_objects")
