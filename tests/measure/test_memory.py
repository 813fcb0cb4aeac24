"""Resources are read from the right process and phase, and a run that measured nothing is an error."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ChildError, MeasureError
from harness.measure.bounds import footprint
from harness.measure.children.process_memory import (
    MemoryState,
    heap_meter,
    parse_vm_hwm,
    peak_rss_bytes,
    read_memory,
    reset_peak,
    trim,
)
from harness.measure.memory import ResourceResult, measure_resources, read_resources
from harness.measure.resources import Expected, measured_resources
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
        measured = measured_resources(result, Expected())
        found = measured.measurement
        values = {name: estimate.value for name, estimate in found.estimates.items() if not estimate.is_missing}
        assert values == {
            "load_s": 1.5,
            "peak_rss_bytes": 300 * MIB,
            "loaded_rss_bytes": 200 * MIB,
            "cpu_utilization": 0.6,
            "cpu_seconds_per_token": 0.2,
            "threads_as_asked": 1,
        }
        assert not any(estimate.has_interval for estimate in found.estimates.values())
        assert found.estimate("cpu_seconds_per_token").n == 30
        assert found.details["cpu_utilization"] == "6 CPU s in 5 s on 2 CPUs; 2 answers, 30 tokens"
        assert found.details["peak_rss_bytes"] == "50.0 MiB before the model was loaded, 200.0 MiB after"
        assert measured.samples == {"resources": [result]}

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


STATE = {"rss_bytes": 60 * MIB, "anonymous_bytes": 20 * MIB, "mapped_bytes": 40 * MIB, "pss_bytes": 50 * MIB}


def state(anonymous, swap=0):
    return {**STATE, "anonymous_bytes": anonymous * MIB, "swap_bytes": swap * MIB}


class TestParts:
    def estimates(self, expected=None, **changes):
        found = measured_resources(read_resources(child_result(**changes), answers=2), expected or Expected())
        return found.measurement

    def test_what_was_kept_counts_swap_and_no_mapped_files(self):
        found = self.estimates(baseline=state(20), unloaded=state(30, swap=8), trimmed=state(22, swap=8))
        assert found.estimate("unload_retention_bytes").value == 18 * MIB
        assert found.estimate("unload_retention_trimmed_bytes").value == 10 * MIB

    def test_the_longest_prompt_has_a_peak_of_its_own(self):
        rows = [
            {"asked_tokens": n, "prompt_tokens": n, "peak_rss_bytes": n * MIB, "is_own_peak": n > 64, "after": state(1)}
            for n in (256, 64)
        ]
        found = self.estimates(lengths=rows)
        assert found.estimate("longest_prompt_peak_bytes").value == 256 * MIB
        assert "64 tokens of prompt: 64.0 MiB or less" in found.details["peak_rss_bytes"]

    def test_the_cache_is_shown_beside_what_the_graph_says(self):
        found = self.estimates(Expected(cache_bytes_per_token=4096), cache_bytes_per_token=4100.0)
        assert found.estimate("cache_token_bytes").value == 4100
        assert found.estimate("cache_token_predicted_bytes").value == 4096

    @pytest.mark.parametrize(
        ("asked", "computing", "met"), [(None, 2, 1), (2, 2, 1), (1, 2, 0), (4, 1, 0), (4, None, 0)]
    )
    def test_a_thread_setting_that_is_ignored_is_told(self, asked, computing, met):
        expected = Expected(threads=asked, asked_by="gate.toml, [benchmark]")
        found = self.estimates(expected, compute_threads=computing)
        assert found.estimate("threads_as_asked").value == met
        assert f"{computing} compute" in found.details["threads_as_asked"]
        assert ("asks for" in found.details["threads_as_asked"]) is (asked is not None)

    def test_without_counters_of_energy_it_is_not_measurable(self):
        assert self.estimates().estimate("token_joules").method == "not measurable here"
        assert self.estimates(joules=60.0).estimate("token_joules").value == 2.0  # of 30 tokens

    @pytest.mark.parametrize("name", ["load_s", "cold_ttft_s", "cpu_utilization", "cpu_seconds_per_token"])
    def test_times_of_a_disturbed_machine_are_no_data_and_memory_stays(self, name):
        noise = {"load_disturbances": ["a hypervisor took 9%"], "disturbances": ["other programs used 40%"]}
        found = self.estimates(cold_ttft_s=0.2, **noise)
        assert found.estimate(name).is_missing
        assert found.estimate(name).method.startswith("invalid: ")
        assert found.estimate("peak_rss_bytes").value == 300 * MIB
        told = self.estimates(Expected(is_invalid_if_disturbed=False), cold_ttft_s=0.2, **noise)
        assert not told.estimate(name).is_missing

    @pytest.mark.parametrize("changes", [{"wall_s": 1.0}, {"cpu_s": 0.5}], ids=["clock", "CPU time"])
    def test_a_time_that_goes_backwards_is_an_error(self, changes):
        first, second = child_result()["samples"]
        with pytest.raises(MeasureError, match=r"an answer took .*-"):
            read_resources(child_result(samples=[first, {**second, **changes}]), answers=2)


class TestCounters:
    def test_vm_hwm_is_read_in_bytes(self):
        assert parse_vm_hwm("Name:\tpython\nVmPeak:\t  90 kB\nVmHWM:\t   8704 kB\n") == 8704 * 1024

    def test_a_status_without_vm_hwm_is_an_error(self):
        with pytest.raises(MeasureError, match="VmHWM"):
            parse_vm_hwm("Name:\tpython\n")

    @on_linux
    def test_a_peak_between_two_looks_is_seen_and_can_be_set_back(self):
        assert reset_peak()
        before = read_memory()
        ballast = bytearray(b"x") * (64 * MIB)
        del ballast
        assert read_memory().rss_bytes < before.rss_bytes + 32 * MIB
        assert peak_rss_bytes() > before.rss_bytes + 60 * MIB
        assert reset_peak()
        assert peak_rss_bytes() < before.rss_bytes + 32 * MIB

    @on_linux
    def test_parts_of_memory_add_up(self):
        found = read_memory()
        assert found.anonymous_bytes + found.mapped_bytes == found.rss_bytes
        assert found.held_bytes == found.anonymous_bytes + found.swap_bytes
        assert isinstance(trim(), bool)
        assert heap_meter()() > 0

    def test_where_parts_are_not_told_resident_memory_stands_for_what_is_held(self):
        assert MemoryState(rss_bytes=7).held_bytes == 7

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

    def test_each_prompt_length_has_a_peak_of_its_own(self, stub_session, tmp_path):
        stub_session(
            "bytearray(b'x') * (96 * 2**20) if 'lorem' * 20 in messages[-1]['content'].replace(' ', '') else 0"
        )
        frame = [{"role": "user", "content": "Read:"}]
        more = {"lengths": [70, 185], "padding": "lorem " * 100, "frame": frame}
        result = self.measure(tmp_path, more=more)
        short, long = result.lengths
        assert short.prompt_tokens <= 70 < long.prompt_tokens <= 185
        if sys.platform == "linux":
            assert long.peak_rss_bytes > short.peak_rss_bytes + 64 * MIB
        assert result.peak_rss_bytes >= long.peak_rss_bytes

    def test_a_child_that_dies_is_told_with_its_last_words(self, stub_session, tmp_path):
        stub_session("print('out of', 'luck', flush=True) or os.abort() if count == 3 else None")
        with pytest.raises(ChildError, match=r"(SIGABRT|status)(.|\n)*out of luck"):
            self.measure(tmp_path)

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

    @pytest.mark.parametrize("threads", [1, 3])
    def test_threads_in_effect_are_read_back(self, demo_artifact, tmp_path, threads):
        spec = {"runtime": "genai", "path": str(demo_artifact), "threads": threads}
        found = measure_resources(spec, CONVERSATIONS[:1], max_new_tokens=4, log=tmp_path / "log")
        assert found.compute_threads == threads

    def test_the_cache_takes_what_the_graph_says(self, resources, demo_artifacts):
        expected = footprint(demo_artifacts["int4"]).cache_bytes_per_token
        assert expected > 0
        assert resources.cache_bytes_per_token == pytest.approx(expected, rel=0.05)

    def test_cpu_use_is_a_share_of_the_machine(self, resources):
        assert_possible(resources)
        assert resources.cpu_seconds_per_token > 0
        assert 4 <= resources.tokens <= 64
