"""Leaks of every kind are caught, healthy processes pass, and the statistics are worked by hand."""

from __future__ import annotations

import itertools
import math
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import ChildError, MeasureError, SessionError
from harness.foundry.opening import import_runtime, open_session
from harness.measure.children import leak_child
from harness.measure.growth import (
    LeakResult,
    LeakSample,
    growth_per_request,
    judge_samples,
    steady_growth,
    theil_sen_slope,
)
from harness.measure.leaks import measure_leak, measure_pack_leak, render_stacks
from harness.pack.load import load_pack
from harness.system.paths import REPOSITORY
from harness.system.progress import LineProgress

STUB_SPEC = {"runtime": "stub", "path": "none"}
CONVERSATIONS = [[{"role": "user", "content": f"What does E{i} mean?" + " Please." * (i % 5)}] for i in range(16)]
TOO_LONG = [{"role": "user", "content": "word " * 3000}]

Plant = Callable[[str], None]

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="growth to the byte needs glibc's mallinfo2")
needs_memray = pytest.mark.skipif(sys.platform == "win32", reason="memray has no Windows build")
needs_proc = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's /proc")


def samples(*in_use_bytes: int, anonymous: int | None = 4096) -> list[LeakSample]:
    return [
        LeakSample(requests=16 * index, in_use_bytes=value, anonymous_bytes=anonymous)
        for index, value in enumerate(in_use_bytes)
    ]


class TestSteadyGrowth:
    def test_of_eight_segments_lies_between_second_and_third(self):
        # growths 10, 20 ... 80 per request; place (8 - 1) / 4 = 1.75: 20 + 0.75 * (30 - 20)
        memory = [5000 + 16 * 10 * sum(range(end + 1)) for end in range(9)]
        found = steady_growth(range(0, 144, 16), memory)
        assert found.value == 27.5
        # binomial ranks of the quarter at 95 %: the 6th of 8 values bounds it above, and nothing below
        assert (found.low, found.high, found.n) == (None, 60.0, 8)
        assert found.method == "lower quartile of 8 segments, order statistics"

    def test_of_one_segment_is_its_growth(self):
        found = steady_growth([0, 16], [100, 132])
        assert (found.value, found.low, found.high) == (2.0, None, None)

    def test_of_many_segments_has_two_ends(self):
        found = steady_growth(range(0, 33 * 16, 16), [5000 + 1600 * i for i in range(33)])
        assert (found.low, found.value, found.high) == (100.0, 100.0, 100.0)


class TestTheilSenSlope:
    def test_of_two_points_is_their_slope(self):
        assert theil_sen_slope([0, 16], [100, 132]) == 2.0

    def test_of_three_points_is_the_median_pairwise_slope(self):
        # slopes 10 (0-1), 2 (0-2 is 4 / 2), -6 (1-2)
        assert theil_sen_slope([0, 1, 2], [0, 10, 4]) == 2.0


class TestJudgement:
    @pytest.mark.parametrize("few", [samples(), samples(1000)])
    def test_below_two_samples_there_is_no_growth(self, few):
        with pytest.raises(MeasureError, match="at least two memory samples"):
            judge_samples(few, method="mallinfo2")

    @pytest.mark.parametrize("bad", [0, -1, math.nan])
    def test_a_sample_that_cannot_be_is_an_error(self, bad):
        with pytest.raises(MeasureError, match="after 16 requests"):
            judge_samples(samples(1000, bad, 1000), method="mallinfo2")

    def test_growth_is_per_request_of_its_own_segment(self):
        assert growth_per_request([0, 16, 48], [100, 260, 420]) == [10.0, 5.0]

    def test_a_still_heap_is_healthy(self):
        result = judge_samples(samples(*[5000] * 9), method="mallinfo2")
        assert (result.leak_bytes_per_request, result.theil_sen_bytes_per_request) == (0.0, 0.0)
        assert result.requests == 128
        assert not result.is_leaking
        assert result.is_conclusive

    def test_growth_at_the_resolution_is_healthy_and_over_it_is_a_leak(self):
        at, over = (
            judge_samples(samples(*[5000 + 16 * step * i for i in range(9)]), method="mallinfo2") for step in (16, 17)
        )
        assert (at.leak_bytes_per_request, at.is_leaking) == (16.0, False)
        assert (over.leak_bytes_per_request, over.is_leaking) == (17.0, True)
        assert (at.estimate.value, over.estimate.value) == (16.0, 17.0)

    def test_three_steps_in_a_still_heap_are_no_leak_but_ask_for_a_longer_look(self):
        steps = judge_samples(samples(5000, 5000, 11000, 11000, 17000, 17000, 17000, 23000, 23000), method="mallinfo2")
        assert steps.leak_bytes_per_request == 0.0
        assert steps.theil_sen_bytes_per_request > 100
        assert not steps.is_leaking
        assert not steps.is_conclusive
        assert steps.estimate.is_missing
        assert steps.measured("leak_bytes_per_request").measurement.estimate("leak_bytes_per_request").is_missing

    def test_a_long_run_catches_what_skips_three_of_four_segments(self):
        # short segments: lower quartile 0; fourfold: 6400 B in every 64 requests
        result = judge_samples(samples(*[5000 + 6400 * (i // 4) for i in range(33)]), method="mallinfo2")
        assert result.leak_bytes_per_request == 100.0
        assert result.is_leaking

    def test_a_long_run_sees_steady_growth_through_steps_back(self):
        # 100 B/request, and 9 KB given back in each of three fourfold segments: their lower quartile falls to
        # 100 - 9000 / 64 = -40.625, that of the 32 short segments stays at 100
        backs = [9000 * sum(i > step for step in (2, 10, 18)) for i in range(33)]
        result = judge_samples(samples(*[90000 + 1600 * i - backs[i] for i in range(33)]), method="mallinfo2")
        assert result.leak_bytes_per_request == 100.0
        assert result.is_leaking

    def test_eight_segments_are_judged_by_short_ones_only(self):
        result = judge_samples(samples(*[5000 + 6400 * (i // 4) for i in range(9)]), method="mallinfo2")
        assert result.leak_bytes_per_request == 0.0

    def test_a_heap_that_shrinks_a_lot_shows_nothing(self):
        result = judge_samples(samples(*[90000 - 1600 * i for i in range(9)]), method="mallinfo2")
        assert result.leak_bytes_per_request == -100.0
        assert not result.is_leaking
        assert not result.is_conclusive

    def test_anonymous_memory_alone_can_leak(self):
        pages = [LeakSample(requests=16 * i, in_use_bytes=5000, anonymous_bytes=4096 * (1 + 2 * i)) for i in range(9)]
        result = judge_samples(pages, method="mallinfo2")
        assert result.anonymous_bytes_per_request == 512.0
        assert result.is_leaking
        assert result.estimate.value == 512.0

    def test_a_result_is_recorded_with_how_it_was_read(self):
        result = judge_samples(samples(*[5000] * 9), method="mallinfo2", refused_requests=8)
        found = result.measured("foundry_leak_bytes_per_request")
        estimate = found.measurement.estimate("foundry_leak_bytes_per_request")
        assert (estimate.value, estimate.high, estimate.n) == (0.0, 0.0, 8)
        details = found.measurement.details["foundry_leak_bytes_per_request"]
        assert details == "128 requests, 8 of them refused; read by mallinfo2: heap in use, exact to the byte"
        assert found.samples == {"foundry_leak_bytes_per_request": [result]}

    def test_missing_anonymous_memory_is_none_and_not_zero(self):
        result = judge_samples(samples(*[5000] * 9, anonymous=None), method="uss")
        assert result.anonymous_bytes_per_request is None
        assert not result.is_leaking

    def test_a_coarse_method_says_so_and_resolves_less(self):
        result = judge_samples(samples(*[5000 + 16 * 1000 * i for i in range(9)]), method="uss")
        assert result.limit_bytes_per_request == 1024.0
        assert "1 KiB" in result.note
        assert not result.is_leaking


class TestStacks:
    def test_equal_stacks_are_joined_and_sorted_by_bytes(self):
        frame, other = ["keep", str(REPOSITORY / "harness" / "x.py"), 3], ["f", "/usr/lib/python3/json/a.py", 9]
        found = [
            {"bytes": 640, "allocations": 10, "frames": [other]},
            {"bytes": 6400, "allocations": 4, "frames": [frame]},
            {"bytes": 6400, "allocations": 6, "frames": [frame]},
        ]
        first, second = render_stacks(found, requests=10, min_allocations=5)
        assert first == "1.2 KiB/request, 1.00 allocations/request\n  keep harness/x.py:3"
        assert second == "64 B/request, 1.00 allocations/request\n  f json/a.py:9"

    def test_frames_that_tell_nothing_are_left_out(self):
        frames = [
            ["operator new", "<unknown>", 0],
            ["<unknown>", "<unknown>", 0],
            ["list_resize", "/build/python/Objects/listobject.c", 81],
            ["keep", "/app/main.py", 7],
        ]
        found = [{"bytes": 10, "allocations": 10, "frames": frames}]
        (stack,) = render_stacks(found, requests=10, min_allocations=5)
        assert stack.splitlines()[1:] == ["  operator new", "  keep app/main.py:7"]

    def test_frames_that_all_tell_nothing_are_kept(self):
        found = [{"bytes": 10, "allocations": 10, "frames": [["<unknown>", "<unknown>", 0]]}]
        assert "unknown" in render_stacks(found, requests=10, min_allocations=5)[0]

    def test_rare_allocations_are_left_out(self):
        found = [{"bytes": 10**9, "allocations": 4, "frames": [["f", "a.py", 1]]}]
        assert render_stacks(found, requests=10, min_allocations=5) == ()


class TestMeter:
    def test_an_unknown_method_is_an_error(self):
        with pytest.raises(MeasureError, match="guess"):
            leak_child.choose_meter("guess")

    def test_every_meter_reads_a_positive_number(self):
        meter = leak_child.choose_meter()
        assert meter.in_use_bytes() > 0
        assert meter.anonymous_bytes is None or meter.anonymous_bytes() > 0

    def test_settling_can_be_repeated(self):
        leak_child.settle()
        leak_child.settle()


class TestOpening:
    @pytest.mark.parametrize("work", [open_session, import_runtime])
    def test_an_unknown_runtime_is_named(self, work):
        with pytest.raises(SessionError, match="abacus"):
            work({"runtime": "abacus", "path": "."})

    def test_a_spec_without_a_path_is_refused(self):
        with pytest.raises(SessionError, match="path"):
            open_session({"runtime": "genai"})


@pytest.mark.process
class TestStubbedChild:
    """The whole way through a child process, with a fake model and planted faults."""

    def measure(self, tmp_path: Path, **changes: object) -> LeakResult:
        return measure_leak(STUB_SPEC, CONVERSATIONS, log=tmp_path / "leaks.log", **changes)

    def test_a_healthy_process_passes(self, stub_session, tmp_path: Path):
        stub_session("")
        result = self.measure(tmp_path, invalid=TOO_LONG)
        assert not result.is_leaking
        assert result.is_conclusive
        assert len(result.samples) == 9
        assert result.refused_requests == result.requests // 16
        assert result.stacks == ()

    @needs_glibc
    def test_sixty_four_python_bytes_per_request_are_caught_and_named(self, stub_session, tmp_path):
        stub_session("kept.append(bytes(31))")
        result = self.measure(tmp_path)
        assert result.is_leaking
        assert 64 <= result.leak_bytes_per_request < 128
        assert any("sitecustomize.py" in stack for stack in result.stacks)

    @needs_glibc
    def test_sixty_four_native_bytes_per_request_are_caught_and_named(self, stub_session, leaky_library, tmp_path):
        stub_session(f"ctypes.CDLL({str(leaky_library)!r}).keep_64_bytes()")
        result = self.measure(tmp_path)
        assert result.is_leaking
        assert 64 <= result.leak_bytes_per_request < 128
        assert any("keep_64_bytes" in stack for stack in result.stacks)

    @needs_glibc
    def test_pages_that_malloc_never_saw_are_caught(self, stub_session, leaky_library, tmp_path):
        stub_session(f"ctypes.CDLL({str(leaky_library)!r}).keep_a_page()")
        result = self.measure(tmp_path)
        assert result.leak_bytes_per_request <= result.limit_bytes_per_request
        assert 0.9 * 4096 <= result.anonymous_bytes_per_request <= 1.1 * 4096  # the kernel may take a page back
        assert result.is_leaking

    @needs_glibc
    def test_an_exception_kept_on_the_error_path_is_caught(self, stub_session, tmp_path):
        stub_session("", at_start="Stub.refuse = lambda self, error: kept.append(error)")
        assert not self.measure(tmp_path).is_leaking
        result = self.measure(tmp_path, invalid=TOO_LONG)
        assert result.is_leaking
        assert result.stacks

    @needs_glibc
    def test_a_leak_in_every_fortieth_request_is_caught_by_a_longer_look(self, stub_session, tmp_path):
        stub_session("if count % 40 == 0: kept.append(bytes(4000))")
        result = self.measure(tmp_path)
        assert (len(result.earlier_samples), len(result.samples)) == (9, 33)
        assert result.requests == 512
        assert result.is_leaking

    @needs_glibc
    def test_three_background_steps_are_no_leak(self, stub_session, tmp_path):
        stub_session("if count in (80, 100, 130): kept.append(bytes(6000))")
        result = self.measure(tmp_path)
        assert len(result.earlier_samples) == 9
        assert not result.is_leaking

    @needs_proc
    @pytest.mark.parametrize("method", ["anonymous", pytest.param("uss", marks=pytest.mark.alone)])
    def test_the_coarse_methods_catch_a_coarse_leak(self, stub_session, tmp_path, method):
        stub_session("kept.append(os.urandom(65536))")
        result = self.measure(tmp_path, method=method)
        assert result.method == method
        assert result.requests == 512
        assert result.is_leaking

    @needs_proc
    def test_anonymous_memory_passes_a_healthy_process(self, stub_session, tmp_path):
        stub_session("")
        result = self.measure(tmp_path, method="anonymous")
        assert not result.is_leaking
        assert result.is_conclusive

    @needs_glibc
    def test_a_preloaded_allocator_does_not_blind_the_meter(self, stub_session, build_library, tmp_path, monkeypatch):
        stub_session("")
        monkeypatch.setenv("LD_PRELOAD", str(build_library(OTHER_ALLOCATOR)))
        assert self.measure(tmp_path).method == "anonymous"

    @needs_memray
    def test_a_verdict_survives_without_memray(self, stub_session, tmp_path):
        stub_session("kept.append(os.urandom(8192))", at_start="sys.modules['memray'] = None")
        result = self.measure(tmp_path)
        assert result.is_leaking
        assert result.stacks == ()
        assert "memray" in result.note

    def test_a_child_that_crashes_is_not_a_pass(self, stub_session, tmp_path):
        stub_session("if count == 60: os.abort()")
        with pytest.raises(ChildError, match=r"SIGABRT|status"):
            self.measure(tmp_path)

    def test_an_invalid_request_that_is_answered_is_not_a_pass(self, stub_session, tmp_path):
        stub_session("")
        with pytest.raises(ChildError, match="error path"):
            self.measure(tmp_path, invalid=CONVERSATIONS[0])

    def test_an_empty_conversation_can_be_the_invalid_one(self, stub_session, tmp_path):
        stub_session("", at_start=REFUSES_NOTHING_SAID)
        result = self.measure(tmp_path, invalid=[])
        assert result.refused_requests == result.requests // 16 > 0

    def test_progress_reaches_the_user(self, stub_session, tmp_path):
        stub_session("")
        lines: list[str] = []
        self.measure(tmp_path, progress=LineProgress(lines.append, clock=itertools.count(step=10).__next__))
        assert lines[-1].startswith("leaks: segments of 16 requests 8/8")


@pytest.mark.process
def test_a_packs_questions_leak_nothing_and_one_in_sixteen_is_refused(stub_session, pack_folder, tmp_path):
    stub_session("")
    found = measure_pack_leak(
        "leak_bytes_per_request", STUB_SPEC, load_pack(pack_folder), context_length=200, log=tmp_path / "leaks.log"
    )
    (result,) = found.samples["leak_bytes_per_request"]
    assert result.refused_requests == result.requests // 16 > 0
    assert found.measurement.estimate("leak_bytes_per_request").value == result.leak_bytes_per_request


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
        measure_leak(STUB_SPEC, [], log=tmp_path / "leaks.log")


@pytest.mark.parametrize("segment_requests", [0, 8, 17])
def test_segments_that_do_not_hold_whole_rounds_are_refused(tmp_path, segment_requests):
    with pytest.raises(MeasureError, match="multiple of 16"):
        measure_leak(STUB_SPEC, CONVERSATIONS, log=tmp_path / "x.log", segment_requests=segment_requests)


@pytest.mark.toolchain
@needs_glibc
class TestRealModel:
    """A converted model in onnxruntime-genai, healthy and with planted leaks."""

    def measure(self, artifact: Path, tmp_path: Path) -> LeakResult:
        spec = {"runtime": "genai", "path": str(artifact)}
        return measure_leak(spec, CONVERSATIONS, log=tmp_path / "leaks.log", invalid=TOO_LONG)

    @pytest.mark.alone
    def test_a_healthy_model_passes(self, demo_artifact, tmp_path):
        result = self.measure(demo_artifact, tmp_path)
        assert result.method == "mallinfo2"
        assert result.refused_requests == 8
        assert not result.is_leaking
        assert result.is_conclusive

    @pytest.mark.parametrize(
        ("statement", "least_bytes"),
        [
            pytest.param("kept.append(bytes(31))", 64, id="64 bytes of Python"),
            pytest.param("kept.append(self)", 4096, id="generator"),
            pytest.param("kept.append([int(t) for t in tokens])", 64, id="token list"),
        ],
    )
    def test_what_python_keeps_per_request_is_caught(self, demo_artifact, plant, tmp_path, statement, least_bytes):
        plant(WRAPPED_GENERATOR.format(statement=statement))
        result = self.measure(demo_artifact, tmp_path)
        assert result.is_leaking
        # one request in 16 is refused before it reaches a generator
        assert result.leak_bytes_per_request >= least_bytes * 15 / 16
        assert result.stacks

    def test_native_memory_kept_per_request_is_caught(self, demo_artifact, plant, leaky_library, tmp_path):
        plant(WRAPPED_GENERATOR.format(statement=f"ctypes.CDLL({str(leaky_library)!r}).keep_64_bytes()"))
        result = self.measure(demo_artifact, tmp_path)
        assert result.is_leaking
        assert any("keep_64_bytes" in stack for stack in result.stacks)

    def test_an_exception_kept_on_the_error_path_is_caught(self, demo_artifact, plant, tmp_path):
        plant(KEPT_EXCEPTION)
        assert self.measure(demo_artifact, tmp_path).is_leaking


WRAPPED_GENERATOR = """
import ctypes
import onnxruntime_genai

kept = []
append_tokens = onnxruntime_genai.Generator.append_tokens

def leaking(self, tokens):
    append_tokens(self, tokens)
    {statement}

onnxruntime_genai.Generator.append_tokens = leaking
"""

REFUSES_NOTHING_SAID = """
stub_answer = Stub.answer

def refusing(self, messages, *, max_new_tokens):
    if not messages:
        raise InvalidPromptError("nothing was said")
    return stub_answer(self, messages, max_new_tokens=max_new_tokens)

Stub.answer = refusing
"""

KEPT_EXCEPTION = """
from harness.errors import InvalidPromptError
from harness.runtime.genai import GenaiSession

kept = []
answer = GenaiSession.answer

def keeping(self, messages, **settings):
    try:
        return answer(self, messages, **settings)
    except InvalidPromptError as error:
        kept.append(error)
        raise

GenaiSession.answer = keeping
"""

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
