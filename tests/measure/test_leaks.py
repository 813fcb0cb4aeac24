"""Leaks on every path are caught and named, and healthy processes pass: the whole way through child processes."""

from __future__ import annotations

import itertools
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from harness.config.default_limits import LEAK_BYTES
from harness.errors import ChildError, MeasureError, SessionError
from harness.foundry.opening import import_runtime, open_session
from harness.measure.growth import EXACT, Resolution, judge_samples, samples_of
from harness.measure.leak_check import LeakCheck
from harness.measure.leaks import lost_objects, measure_leaks
from harness.metrics.catalogue import METRICS
from harness.system.paths import REPOSITORY, default_cache
from harness.system.progress import LineProgress
from tests.measure.leak_controls import (
    HEALTHY,
    MENDED,
    PLANTED,
    QUESTIONS,
    REAL,
    run_control,
)

STUB_SPEC = {"runtime": "stub", "path": "none"}
TOO_LONG = [{"role": "user", "content": "word " * 3000}]

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="growth to the byte needs glibc's mallinfo2")
needs_memray = pytest.mark.skipif(sys.platform == "win32", reason="memray has no Windows build")
needs_proc = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's /proc")


class TestOpening:
    @pytest.mark.parametrize("work", [open_session, import_runtime])
    def test_an_unknown_runtime_is_named(self, work):
        with pytest.raises(SessionError, match="abacus"):
            work({"runtime": "abacus", "path": "."})

    def test_a_spec_without_a_path_is_refused(self):
        with pytest.raises(SessionError, match="path"):
            open_session({"runtime": "genai"})


def result(path: str, *in_use_bytes: int, **changes: object):
    rows = [[index, value, None] for index, value in enumerate(in_use_bytes)]
    resolution = Resolution.of(EXACT, LEAK_BYTES[path])
    return judge_samples(samples_of(rows, units=16), path=path, resolution=resolution, **changes)


def check(*results, lost=()) -> LeakCheck:
    return LeakCheck(results={one.path: one for one in results}, method=EXACT, is_level=True, lost_objects=lost)


class TestRecord:
    def test_every_path_has_a_metric_of_both_runtimes(self):
        names = {f"{prefix}leak_bytes_per_{path}" for prefix in ("", "foundry_") for path in LEAK_BYTES}
        assert names <= set(METRICS)

    def test_results_stand_under_their_runtimes_names(self):
        request, error = result("request", *[5000] * 9), result("error", *[5000] * 9, note="so it was")
        found = check(request, error).measured("")
        estimate = found.measurement.estimate("leak_bytes_per_request")
        assert (estimate.value, estimate.high, estimate.n) == (0.0, 0.0, 8)
        details = found.measurement.details["leak_bytes_per_error"]
        assert details == "128 times; read by mallinfo2: heap in use, exact to the byte\nso it was"
        assert found.samples == {"leak_bytes_per_request": [request, error]}
        assert set(check(request, lost=None).measured("foundry_").measurement.estimates) == {
            "foundry_leak_bytes_per_request"
        }

    def test_a_leak_says_what_to_do(self):
        leak = result("session", *range(5000, 5000 + 9 * 1600, 1600))
        told = check(leak).measured("").measurement.details["leak_bytes_per_session"]
        assert told.splitlines()[-1].startswith("what to do: generators or chat sessions are opened")

    def test_the_worst_path_against_its_resolution_comes_first(self):
        request = result("request", *range(5000, 5000 + 9 * 1600, 1600))  # 100 B of 16
        load = result("load", *range(50000, 50000 + 9 * 160000, 160000))  # 10,000 B of 4,096
        assert [one.path for one in check(load, request).leaking] == ["request", "load"]

    @pytest.mark.parametrize(("lost", "value"), [((), 1.0), (("2 Generator",), 0.0)])
    def test_lost_objects_are_a_criterion(self, lost, value):
        for prefix, name in (("", "runtime_frees_objects"), ("foundry_", "foundry_frees_objects")):
            found = check(result("request", 5000, 5000), lost=lost).measured(prefix).measurement
            assert found.estimate(name).value == value
            assert found.details[name] == ("\n".join(lost) or "its own report at the end is empty")


def test_the_runtimes_own_report_is_read():
    text = (
        "OGA Error: 7 instances of N10Generators6TensorE were leaked.\nOGA Error: 1 instances of struct X were leaked."
    )
    assert lost_objects(text) == ("7 Tensor",)
    assert lost_objects("OGA Error: 1 instances of OgaTensor were leaked.") == ("1 OgaTensor",)
    assert lost_objects("nothing") == ()


@pytest.mark.process
class TestStubbedChild:
    """A fake model and planted faults."""

    def measure(self, tmp_path: Path, **changes: object) -> LeakCheck:
        return measure_leaks(STUB_SPEC, QUESTIONS, invalid=TOO_LONG, log=tmp_path / "leaks.log", **changes)

    def test_a_healthy_process_is_level_on_every_path(self, stub_session, tmp_path: Path):
        stub_session("")
        found = self.measure(tmp_path)
        assert list(found.results) == list(LEAK_BYTES)
        assert found.is_level
        assert found.leaking == ()
        assert all(one.is_conclusive for one in found.results.values())
        assert found.lost_objects is None  # no runtime that could report any

    @needs_glibc
    def test_sixty_four_bytes_are_caught_named_and_drawn(self, stub_session, leaky_library, tmp_path):
        stub_session(f"ctypes.CDLL({str(leaky_library)!r}).keep_64_bytes()")
        found = self.measure(tmp_path)
        request = found.results["request"]
        assert request.is_leaking
        assert 64 <= request.leak_bytes_per_unit < 128
        worst = found.leaking[0]
        assert any("keep_64_bytes" in stack for stack in worst.stacks)
        page = Path(worst.flamegraph).read_text(encoding="utf-8")
        assert "keep_64_bytes" in page
        assert "<script src=" not in page

    @needs_glibc
    def test_what_requests_lose_is_not_counted_against_their_tokens(self, stub_session, tmp_path):
        stub_session("kept.append(bytes(31))")
        found = self.measure(tmp_path)
        assert found.results["request"].is_leaking
        assert not found.results["token"].is_leaking

    @needs_glibc
    def test_pages_that_malloc_never_saw_are_caught(self, stub_session, leaky_library, tmp_path):
        stub_session(f"ctypes.CDLL({str(leaky_library)!r}).keep_a_page()")
        found = self.measure(tmp_path).results["request"]
        assert found.leak_bytes_per_unit <= found.limit_bytes_per_unit
        assert 0.9 * 4096 <= found.anonymous_bytes_per_unit <= 1.1 * 4096  # the kernel may take a page back
        assert found.estimate.value == found.anonymous_bytes_per_unit

    @needs_glibc
    @pytest.mark.parametrize(
        ("start", "paths"),
        [
            pytest.param("Stub.refuse = lambda self, error: kept.append(error)", {"error"}, id="exception"),
            pytest.param("Stub.open_and_drop = lambda self: kept.append(bytes(31))", {"session"}, id="session"),
            pytest.param("Stub.break_off = lambda self, messages: kept.append(bytes(31))", {"stream"}, id="stream"),
            pytest.param("Stub.reload = lambda self: kept.append(bytes(16384))", {"load"}, id="load"),
        ],
    )
    def test_a_path_that_loses_memory_is_the_one_that_is_named(self, stub_session, tmp_path, start, paths):
        stub_session("", at_start=start)
        assert {one.path for one in self.measure(tmp_path).leaking} == paths

    @needs_glibc
    def test_a_leak_in_every_fortieth_request_is_caught_by_a_longer_look(self, stub_session, tmp_path):
        stub_session("if count % 40 == 0: kept.append(bytes(4096))")
        found = self.measure(tmp_path).results["request"]
        assert (len(found.earlier_samples), len(found.samples)) == (9, 33)
        assert found.is_leaking

    @needs_glibc
    def test_three_background_steps_are_no_leak(self, stub_session, tmp_path):
        stub_session("if count in (150, 200, 260): kept.append(bytes(6000))")
        found = self.measure(tmp_path)
        assert found.leaking == ()
        assert all(one.is_conclusive for one in found.results.values())

    @needs_proc
    @pytest.mark.parametrize("method", ["anonymous", pytest.param("uss", marks=pytest.mark.alone)])
    def test_the_coarse_methods_catch_a_coarse_leak(self, stub_session, tmp_path, method):
        stub_session("kept.append(os.urandom(65536))")
        found = self.measure(tmp_path, method=method)
        assert found.method == method
        assert found.results["request"].is_leaking

    @needs_proc
    def test_anonymous_memory_passes_a_healthy_process(self, stub_session, tmp_path):
        stub_session("")
        assert self.measure(tmp_path, method="anonymous").leaking == ()

    @needs_glibc
    def test_a_preloaded_allocator_does_not_blind_the_meter(self, stub_session, build_library, tmp_path, monkeypatch):
        stub_session("")
        monkeypatch.setenv("LD_PRELOAD", str(build_library(OTHER_ALLOCATOR)))
        assert self.measure(tmp_path).method == "anonymous"

    @needs_memray
    def test_a_verdict_survives_without_memray(self, stub_session, tmp_path):
        stub_session("kept.append(os.urandom(8192))", at_start="sys.modules['memray'] = None")
        worst = self.measure(tmp_path).leaking[0]
        assert (worst.stacks, worst.flamegraph) == ((), None)
        assert "memray is not installed" in worst.note

    def test_a_child_that_crashes_is_not_a_pass(self, stub_session, tmp_path):
        stub_session("if count == 60: os.abort()")
        with pytest.raises(ChildError, match=r"SIGABRT|status"):
            self.measure(tmp_path)

    def test_an_invalid_request_that_is_answered_is_not_a_pass(self, stub_session, tmp_path):
        stub_session("")
        with pytest.raises(ChildError, match="error path"):
            measure_leaks(STUB_SPEC, QUESTIONS, invalid=QUESTIONS[0], log=tmp_path / "leaks.log")

    def test_progress_reaches_the_user(self, stub_session, tmp_path):
        stub_session("")
        lines: list[str] = []
        self.measure(tmp_path, progress=LineProgress(lines.append, clock=itertools.count(step=10).__next__))
        assert any(line.startswith("leaks: rounds of all paths") for line in lines)


@pytest.mark.process
@pytest.mark.parametrize(
    "child", ["measure.children.leak_child", "measure.children.resource_child", "serving.endurance_child"]
)
def test_a_measured_process_holds_no_package_of_statistics(child):
    script = (
        f"import sys, harness.{child}; print([name for name in ('scipy', 'pandas', 'pytest') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_without_a_question_nothing_can_be_measured(tmp_path):
    with pytest.raises(MeasureError, match="without a conversation"):
        measure_leaks(STUB_SPEC, [], invalid=TOO_LONG, log=tmp_path / "leaks.log")


@pytest.mark.toolchain
@needs_glibc
class TestRealModel:
    """A converted model in both runtimes, healthy and with planted leaks; `benchmarks/leaks.py` counts more of them."""

    @pytest.mark.alone
    @pytest.mark.foundry
    @pytest.mark.parametrize("control", HEALTHY, ids=lambda control: control.runtime)
    def test_a_healthy_model_passes(self, demo_artifact, tmp_path, control):
        found = run_control(control, demo_artifact, tmp_path / "run", cache=default_cache() / "tests")
        assert found.method == EXACT
        assert found.leaking == ()
        assert all(one.is_conclusive for one in found.results.values())
        assert found.lost_objects == ()

    @pytest.mark.slow
    @pytest.mark.foundry
    @pytest.mark.parametrize("control", PLANTED, ids=lambda control: control.name)
    def test_a_planted_leak_is_caught_where_it_is(self, demo_artifact, tmp_path, control):
        found = run_control(control, demo_artifact, tmp_path / "run", cache=default_cache() / "tests")
        assert control.paths <= {one.path for one in found.leaking}
        assert any(control.lost in lost for lost in found.lost_objects) == bool(control.lost)

    @pytest.mark.slow
    @pytest.mark.parametrize("control", [*REAL, *MENDED], ids=lambda control: control.package)
    def test_a_release_that_leaks_is_told_from_one_that_does_not(self, demo_artifact, tmp_path, control):
        found = run_control(control, demo_artifact, tmp_path / "run", cache=default_cache() / "tests")
        assert {one.path for one in found.leaking} == control.paths


OTHER_ALLOCATOR = """
    #define _GNU_SOURCE
    #include <stddef.h>
    #include <stdint.h>
    #include <string.h>
    #include <sys/mman.h>

    static char *top = 0;

    void *memalign(size_t alignment, size_t size) {
        const size_t reserve = 8ul << 30;
        if (!top)
            top = mmap(0, reserve, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (alignment < 16) alignment = 16;
        uintptr_t start = ((uintptr_t)top + 16 + alignment - 1) & ~(alignment - 1);
        size_t *header = (size_t *)(start - 16);
        *header = size;
        top = (char *)start + size;
        return (void *)start;
    }
    void *malloc(size_t size) { return memalign(16, size); }
    void free(void *block) { (void)block; }
    void *calloc(size_t count, size_t size) { return memalign(16, count * size); }
    void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
    int posix_memalign(void **out, size_t alignment, size_t size) {
        *out = memalign(alignment, size);
        return 0;
    }
    void *realloc(void *block, size_t size) {
        void *moved = memalign(16, size);
        if (block) {
            size_t old = *(size_t *)((char *)block - 16);
            memcpy(moved, block, old < size ? old : size);
        }
        return moved;
    }
"""
