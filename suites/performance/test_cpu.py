"""Answering leaves the device usable."""

import pytest


@pytest.mark.alone
def test_cpu_utilization_is_bounded(judge, resources):
    judge(resources, "cpu_utilization")
