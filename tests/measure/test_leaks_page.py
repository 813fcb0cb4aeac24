"""The tables of benchmarks/leaks.py, of rows by hand."""

from __future__ import annotations

from benchmarks.leaks import tables


def row(name, *, is_leak, seconds=1.0, **found):
    return {
        "part": "healthy",
        "name": name,
        "is_leak": is_leak,
        "leaking": {},
        "undecided": [],
        "seconds": seconds,
        **found,
    }


def cells(text, name):
    line = next(line for line in text.splitlines() if line.startswith(f"| {name}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_healthy_processes_are_counted_with_all_that_went_wrong():
    rows = [
        row("a", is_leak=False, is_level=True),
        row("a", is_leak=False, is_level=False, seconds=3.0),
        row("a", is_leak=False, leaking={"request": 80.0}),
        row("a", is_leak=False, error="a child process died"),
        row("a", is_leak=False, undecided=["token"]),
    ]
    _, alarms, _, undecided, alone, seconds = cells(tables(rows), "a")
    assert (alarms, undecided, alone, seconds) == ("2 of 5", "1", "1", "1 s")


def test_a_leak_is_caught_where_it_was_found_on_all_its_paths():
    rows = [
        row("b", is_leak=True, leaking={"request": 80.0, "error": 20.0}, is_found=True),
        row("b", is_leak=True, leaking={"error": 20.0}, is_found=False),
    ]
    _, caught, _, read, _ = cells(tables(rows), "b")
    assert (caught, read) == ("1 of 2", "80 B/request, 20 B/error")
