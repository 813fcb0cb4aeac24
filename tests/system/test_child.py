import itertools
import json
import sys
import textwrap

import pytest

from harness.errors import ChildError
from harness.system.child import harness_module, run_job
from harness.system.progress import LineProgress


@pytest.fixture
def run(tmp_path):
    def start(body, job=None, timeout_s=20, **options):
        script = tmp_path / "child.py"
        script.write_text("import json, os, sys, time\njob = json.load(open(sys.argv[1]))\n" + textwrap.dedent(body))
        return run_job([sys.executable, script], job or {}, log=tmp_path / "log.txt", timeout_s=timeout_s, **options)

    return start


def test_a_job_goes_in_and_its_result_comes_out(run):
    lines = []
    result = run(
        """
        print("@progress half way", flush=True)
        print("@step 0 8 lines: of a file", flush=True)
        print("@step 2 8 lines: of a file", flush=True)
        print("only for the log")
        json.dump({"twice": 2 * job["n"], "env": os.environ["EXTRA"]}, open(sys.argv[2], "w"))
        """,
        {"n": 21},
        progress=LineProgress(lines.append, clock=itertools.count(step=10).__next__),
        env={"EXTRA": "yes"},
    )
    assert result == {"twice": 42, "env": "yes"}
    assert lines == ["half way", "lines: of a file 0/8", "lines: of a file 2/8, about 2 min left"]


FAULTS = {
    "status": ("print('last words'); sys.exit(3)", "status 3"),
    "exits 0 without a result": ("print('last words')", "without a result"),
    "broken result": ("print('last words'); open(sys.argv[2], 'w').write('{')", "without a result"),
    "killed": ("print('last words', flush=True); os.kill(os.getpid(), 9)", "SIGKILL"),
    "crash": ("print('last words', flush=True); os.abort()", "SIGABRT"),
    "crash at exit, after the result": (
        "print('last words', flush=True); json.dump({}, open(sys.argv[2], 'w')); os.kill(os.getpid(), 11)",
        "SIGSEGV",
    ),
}


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize(("body", "message"), FAULTS.values(), ids=FAULTS)
def test_a_death_is_named_and_the_log_shown(run, body, message):
    with pytest.raises(ChildError, match=message) as caught:
        run(body)
    assert "last words" in str(caught.value)


@pytest.mark.process
def test_a_hanging_child_is_stopped(run):
    with pytest.raises(ChildError, match="longer than 1 s"):
        run("time.sleep(60)", timeout_s=1)


SLOW = """
    from pathlib import Path
    print("@progress here", flush=True)
    while not Path(job["stop"]).exists():
        time.sleep(0.01)
    json.dump({"seen": 7}, open(sys.argv[2], "w"))
    """


def interrupting(lines):
    """Listens like a person who presses Ctrl-C as soon as something is shown."""

    def write(line):
        lines.append(line)
        if len(lines) == 1:
            raise KeyboardInterrupt

    return LineProgress(write)


def test_an_interrupted_child_that_is_asked_to_end_gives_what_it_has(run, tmp_path):
    lines, stop = [], tmp_path / "stop"
    found = run(SLOW, {"stop": str(stop)}, progress=interrupting(lines), on_interrupt=stop.touch)
    assert found == {"seen": 7}


def test_an_interrupt_that_nobody_asked_for_stops_the_child(run, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(SLOW, {"stop": str(tmp_path / "stop")}, progress=interrupting([]))


def test_a_second_interrupt_stops_it_too(run, tmp_path):
    def again():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(SLOW, {"stop": str(tmp_path / "stop")}, progress=interrupting([]), on_interrupt=again)


def test_a_reported_error_is_raised_as_it_was_said(run):
    with pytest.raises(ChildError) as caught:
        run("json.dump({'error': {'what': 'no', 'where': 'there', 'next_step': 'mend'}}, open(sys.argv[2], 'w'))")
    assert (caught.value.what, caught.value.where, caught.value.next_step) == ("no", "there", "mend")


def test_a_harness_module_runs_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ChildError, match="status"):  # units has no job to do: it ends without a result
        run_job(harness_module("harness.metrics.units"), {}, log=tmp_path / "log.txt", timeout_s=20)
    assert "No module" not in (tmp_path / "log.txt").read_text()
    assert json.dumps(harness_module("harness.metrics.units"))
