"""How many cores there are to compute on."""

import psutil
import pytest

from harness.system import cpu
from harness.system.cpu import compute_cores, cpu_quota


@pytest.fixture
def group(tmp_path):
    """A control group inside of another, with the quotas that are written into them."""
    folder = tmp_path / "machine" / "job"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("around", "own", "cpus"),
    [
        (None, None, None),
        (None, "max 100000", None),
        (None, "400000 100000", 4),
        (None, "150000 100000", 1),
        (None, "50000 100000", 1),
        ("200000 100000", "max 100000", 2),
        ("200000 100000", "800000 100000", 2),
        ("max 100000", "300000 100000", 3),
        (None, "not a quota", None),
    ],
)
def test_the_tightest_quota_counts(group, around, own, cpus):
    for folder, text in ((group.parent, around), (group, own)):
        if text:
            (folder / "cpu.max").write_text(f"{text}\n")
    assert cpu_quota(group) == cpus


def test_no_control_group_has_no_quota():
    assert cpu_quota(None) is None


@pytest.mark.parametrize(
    ("physical", "usable", "quota", "cores"),
    [
        (8, 16, None, 8),
        (2, 2, None, 2),
        (64, 64, 2, 2),
        (8, 3, None, 3),
        (None, 4, None, 4),
        (4, 8, 16, 4),
    ],
    ids=["two threads a core", "one", "a container", "bound to some", "unknown", "a wide quota"],
)
def test_a_thread_for_each_core_that_may_be_used(monkeypatch, physical, usable, quota, cores):
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: usable if logical else physical)
    monkeypatch.setattr(cpu, "usable_cores", lambda: usable)
    monkeypatch.setattr(cpu, "cpu_quota", lambda group: quota)
    compute_cores.cache_clear()
    assert compute_cores() == cores
    compute_cores.cache_clear()
