"""Memory does not grow with the number of requests."""

import pytest


@pytest.mark.alone
def test_onnxruntime_genai_does_not_leak(judge, genai_leak):
    judge(genai_leak, "leak_bytes_per_request")


@pytest.mark.alone
def test_foundry_local_does_not_leak(judge, foundry_leak):
    judge(foundry_leak, "foundry_leak_bytes_per_request")
