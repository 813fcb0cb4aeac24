"""Stacks of a leak as text."""

from __future__ import annotations

from harness.measure.leak_stacks import render_stacks, write_flamegraph
from harness.system.paths import REPOSITORY


class TestStacks:
    def test_equal_stacks_are_joined_and_sorted_by_bytes(self):
        frame, other = ["keep", str(REPOSITORY / "harness" / "x.py"), 3], ["f", "/usr/lib/python3/json/a.py", 9]
        found = [
            {"bytes": 640, "allocations": 10, "frames": [other]},
            {"bytes": 6400, "allocations": 4, "frames": [frame]},
            {"bytes": 6400, "allocations": 6, "frames": [frame]},
        ]
        first, second = render_stacks(found, path="request", units=10, min_allocations=5)
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
        (stack,) = render_stacks(found, path="request", units=10, min_allocations=5)
        assert stack.splitlines()[1:] == ["  operator new", "  keep app/main.py:7"]

    def test_frames_that_all_tell_nothing_are_kept(self):
        found = [{"bytes": 10, "allocations": 10, "frames": [["<unknown>", "<unknown>", 0]]}]
        assert "unknown" in render_stacks(found, path="request", units=10, min_allocations=5)[0]

    def test_rare_allocations_are_left_out(self):
        found = [{"bytes": 10**9, "allocations": 4, "frames": [["f", "a.py", 1]]}]
        assert render_stacks(found, path="request", units=10, min_allocations=5) == ()


def test_a_page_that_cannot_be_drawn_is_none(tmp_path):
    (tmp_path / "capture").write_bytes(b"no capture")
    assert not write_flamegraph(tmp_path / "capture", tmp_path / "page.html")
