"""Progress on the terminal, and programs that run on it: their statuses, and Ctrl-C."""

import io
import os
import signal
import subprocess
import sys

import pytest

from harness.cli.terminal import run_program, shown_progress, tolerate_narrow_output
from harness.system.paths import REPOSITORY


class Terminal(io.TextIOWrapper):
    """A stdout that lacks most characters, and that somebody watches."""

    def isatty(self):
        return True


def show(kind, monkeypatch, *lines):
    """What progress writes to a stdout of that kind."""
    with monkeypatch.context() as patch:
        stream = kind(io.BytesIO(), encoding="ascii")
        patch.setattr("sys.stdout", stream)
        tolerate_narrow_output()
        with shown_progress() as progress:
            for line in lines:
                progress.line(line)
        stream.flush()
    return stream.buffer.getvalue().decode("ascii")


def test_progress_is_plain_lines_where_stdout_is_no_terminal(monkeypatch):
    assert show(io.TextIOWrapper, monkeypatch, "reading \u2603 [bold]", "done") == "  ? reading ? [bold]\n  ? done\n"


def test_progress_is_plain_lines_where_a_terminal_cannot_clear_them(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    assert show(Terminal, monkeypatch, "reading") == "  ? reading\n"


def test_progress_is_one_line_on_a_terminal_and_goes_at_the_end(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    shown = show(Terminal, monkeypatch, "reading", "converting \u2603 [bold]")
    assert "converting ? [bold]" in shown
    assert shown.endswith("\x1b[2K")  # the line is cleared


@pytest.mark.parametrize(
    ("script", "status"), [("", 0), ("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_the_status_is_the_programs(script, status):
    if status > 128 and sys.platform == "win32":
        pytest.skip("Windows ends a process with a status, not with a signal")
    assert run_program([sys.executable, "-c", script]) == status


KEEPS = """
import pathlib, sys, time
try:
    print("started", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1.0)  # longer than the quarter of a second that subprocess waits
    pathlib.Path(sys.argv[1]).write_text("kept")
"""
RUNS_IT = "import sys; from harness.cli.terminal import run_program; run_program([sys.executable, '-c', *sys.argv[1:]])"


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to a process group there")
def test_ctrl_c_leaves_the_program_the_time_to_keep_what_it_finished(tmp_path):
    command = [sys.executable, "-c", RUNS_IT, KEEPS, str(tmp_path / "record")]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=REPOSITORY, start_new_session=True, stdout=pipe, stderr=pipe, text=True
    ) as child:
        assert child.stdout.readline() == "started\n"
        os.killpg(child.pid, signal.SIGINT)
        told = child.stderr.read()
    assert (tmp_path / "record").read_text() == "kept"
    assert told.endswith("KeyboardInterrupt\n")
