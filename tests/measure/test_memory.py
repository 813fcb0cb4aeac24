"""Resources are read from the right process and phase, and a run that measured nothing is an error."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ChildError, MeasureError
from harness.measure.children.resource_child import parse_vm_hwm, peak_rss_bytes
from harness.measure.memory import ResourceResult, measure_resources, read_resources
from harness.system.cpu import logical_cpus

STUB_SPEC = {"runtime": "stub", "path": "none"}
CONVERSATIONS = [[{"role": "user", "content": f"What does E{i} mean?"}] for i in range(4)]
MIB = 2**20

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")


SCHEDULER_TICK_S = 0.01
"""The kernel books a running thread's CPU time at its ticks, of which the slowest kernels make 100 a second."""


def assert_possible(result: ResourceResult) -> None:
    """The CPU time is that of all threads, and not more than the CPUs had; a measured span may be shorter than a tick."""
    assert 0 < result.cpu_s <= result.logical_cpus * (result.wall_s + SCHEDULER_TICK_S)


def child_result(**changes: Any) -> dict[str, Any]:
    sample = {"wall_s": 2.0, "cpu_s": 1.0, "rss_bytes": 250 * MIB, "tokens": 10}
    later = {"wall_s": 5.0, "cpu_s": 6.0, "rss_bytes": 260 * MIB, "tokens": 20}
    return {
        "import_s": 0.5,
        "load_s": 1.5,
        "baseline_rss_bytes": 50 * MIB,
        "rss_after_load_bytes": 200 * MIB,
        "peak_rss_bytes": 300 * MIB,
        "threads": 3,
        "logical_cpus": 2,
        "samples": [sample, later],
        **changes,
    }


class TestNumbers:
    def test_are_derived_from_the_samples(self):
        result = read_resources(child_result(), answers=2)
        assert result.wall_s == 5.0
        assert result.tokens == 30
        assert result.cpu_utilization == 0.6  # 6 CPU s in 5 s on 2 CPUs
        assert result.cpu_seconds_per_token == 0.2
        assert result.model_rss_bytes == 150 * MIB

    def test_are_readings_without_an_interval(self):
        result = read_resources(child_result(), answers=2)
        found = result.measured.measurement
        assert {name: estimate.value for name, estimate in found.estimates.items()} == {
            "load_s": 1.5,
            "peak_rss_bytes": 300 * MIB,
            "cpu_utilization": 0.6,
            "cpu_seconds_per_token": 0.2,
        }
        assert not any(estimate.has_interval for estimate in found.estimates.values())
        assert found.estimate("cpu_seconds_per_token").n == 30
        assert found.details["cpu_utilization"] == "6 CPU s in 5 s on 2 CPUs; 2 answers, 30 tokens"
        assert found.details["peak_rss_bytes"] == "50.0 MiB before the model was loaded, 200.0 MiB after"
        assert result.measured.samples == {"resources": [result]}

    def test_of_one_answer_are_those_of_that_answer(self):
        result = read_resources(child_result(samples=child_result()["samples"][:1]), answers=1)
        assert (result.tokens, result.cpu_utilization, result.cpu_seconds_per_token) == (10, 0.25, 0.1)

    @pytest.mark.parametrize("count", [0, 1])
    def test_of_fewer_samples_than_answers_are_an_error(self, count):
        with pytest.raises(MeasureError, match="of 2 answers"):
            read_resources(child_result(samples=child_result()["samples"][:count]), answers=2)

    @pytest.mark.parametrize("name", ["load_s", "peak_rss_bytes", "baseline_rss_bytes", "logical_cpus"])
    @pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
    def test_that_cannot_be_are_an_error(self, name, value):
        with pytest.raises(MeasureError, match=name):
            read_resources(child_result(**{name: value}), answers=2)

    def test_of_answers_without_tokens_are_an_error(self):
        silent = [{**sample, "tokens": 0} for sample in child_result()["samples"]]
        with pytest.raises(MeasureError, match="no token"):
            read_resources(child_result(samples=silent), answers=2)


class TestCounters:
    def test_vm_hwm_is_read_in_bytes(self):
        assert parse_vm_hwm("Name:\tpython\nVmPeak:\t  90 kB\nVmHWM:\t   8704 kB\n") == 8704 * 1024

    def test_a_status_without_vm_hwm_is_an_error(self):
        with pytest.raises(MeasureError, match="VmHWM"):
            parse_vm_hwm("Name:\tpython\n")

    def test_the_peak_of_this_process_is_plausible(self):
        assert 5 * MIB < peak_rss_bytes() < 2**40

    def test_there_is_a_cpu_to_run_on(self):
        assert logical_cpus() >= 1


class TestStubbedChild:
    def measure(self, tmp_path: Path, **changes: Any) -> ResourceResult:
        settings = {"max_new_tokens": 32, "log": tmp_path / "resources.log", **changes}
        return measure_resources(STUB_SPEC, CONVERSATIONS, **settings)

    def test_every_answer_is_sampled(self, stub_session, tmp_path):
        stub_session("")
        result = self.measure(tmp_path)
        assert [sample.tokens for sample in result.samples] == [len("an answer")] * 4
        assert result.wall_s > 0
        assert result.threads >= 1

    @on_linux
    def test_the_peak_is_the_childs_own(self, stub_session, tmp_path):
        ballast = bytearray(b"x") * (300 * MIB)  # what ru_maxrss of the child would start from
        stub_session("")
        result = self.measure(tmp_path)
        assert len(ballast) > result.peak_rss_bytes

    def test_a_peak_that_is_given_back_still_counts(self, stub_session, tmp_path):
        stub_session("bytearray(b'x') * (256 * 2**20) if count == 2 else None")
        result = self.measure(tmp_path)
        assert result.peak_rss_bytes > 256 * MIB
        assert result.rss_after_load_bytes < 200 * MIB

    def test_import_and_load_are_apart(self, stub_session, tmp_path):
        stub_session("", at_start=SLOW_START)
        result = self.measure(tmp_path)
        assert result.import_s >= 0.2
        assert result.load_s >= 0.4
        assert result.model_rss_bytes > 60 * MIB

    def test_work_on_all_threads_counts_as_cpu_time_and_waiting_does_not(self, stub_session, tmp_path):
        stub_session("[sum(range(100_000)) for _ in range(60)]")
        busy = self.measure(tmp_path)
        assert busy.cpu_s > 0.05
        assert_possible(busy)

    def test_waiting_is_not_cpu_time(self, stub_session, tmp_path):
        stub_session("time.sleep(0.1)", at_start="import time")
        idle = self.measure(tmp_path)
        assert idle.wall_s >= 0.4
        assert idle.cpu_s < 0.2

    def test_a_crash_at_exit_is_an_error(self, stub_session, tmp_path):
        stub_session("", at_start="import atexit; atexit.register(os.abort)")
        with pytest.raises(ChildError, match=r"SIGABRT|status"):
            self.measure(tmp_path)

    @pytest.mark.process
    def test_a_child_that_hangs_is_stopped(self, stub_session, tmp_path):
        stub_session("time.sleep(600)", at_start="import time")
        start_s = time.perf_counter()
        with pytest.raises(ChildError, match="longer than"):
            self.measure(tmp_path, timeout_s=3.0)
        assert time.perf_counter() - start_s < 60

    def test_an_answer_without_tokens_is_an_error(self, stub_session, tmp_path):
        stub_session("return ''")
        with pytest.raises(MeasureError, match="no token"):
            self.measure(tmp_path)


def test_without_a_conversation_nothing_can_be_measured(tmp_path):
    with pytest.raises(MeasureError, match="without a conversation"):
        measure_resources(STUB_SPEC, [], max_new_tokens=8, log=tmp_path / "resources.log")


def test_an_unknown_runtime_is_reported_by_the_child(tmp_path):
    with pytest.raises(ChildError, match="no runtime is called 'stub'"):
        measure_resources(STUB_SPEC, CONVERSATIONS, max_new_tokens=8, log=tmp_path / "resources.log")


SLOW_START = """
import time
open_stub = opening.open_session

def slow_open(spec):
    kept.append(bytearray(b"x") * (64 * 2**20))
    time.sleep(0.4)
    return open_stub(spec)

opening.open_session = slow_open
opening.import_runtime = lambda spec: time.sleep(0.2)
"""


@pytest.fixture(scope="module")
def resources(demo_artifact, tmp_path_factory) -> ResourceResult:
    """One measurement of the converted model."""
    spec = {"runtime": "genai", "path": str(demo_artifact)}
    log = tmp_path_factory.mktemp("resources") / "resources.log"
    return measure_resources(spec, CONVERSATIONS, max_new_tokens=16, log=log)


@pytest.mark.toolchain
@pytest.mark.alone
class TestRealModel:
    """A converted model in onnxruntime-genai."""

    def test_loading_takes_time_and_memory(self, resources):
        assert resources.load_s > 0
        assert resources.import_s > 0
        assert resources.rss_after_load_bytes > resources.baseline_rss_bytes

    def test_the_peak_is_not_below_any_sample(self, resources):
        samples = [sample.rss_bytes for sample in resources.samples]
        assert resources.peak_rss_bytes >= 0.98 * max([*samples, resources.rss_after_load_bytes])

    def test_cpu_use_is_a_share_of_the_machine(self, resources):
        assert_possible(resources)
        assert resources.cpu_seconds_per_token > 0
        assert 4 <= resources.tokens <= 64
