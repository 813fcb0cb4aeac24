"""Runs a job in a child process: a JSON file in, a JSON file out, a log kept.

Conversion needs other package versions, memory must be measured in a process that holds nothing else, and a native
crash must not take the gate down. All three need the same: a separate process with a contract.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from harness.errors import ChildError, GateError
from harness.system.paths import REPOSITORY
from harness.system.progress import SILENT, Progress, Step

PROGRESS_MARK = "@progress "
"""A child's output line that starts so is a line of progress for the user; every line goes to the log."""

STEP_MARK = "@step "
"""A child's output line that starts so is a counted step: `@step DONE TOTAL WHAT`. The first DONE is 0."""


def run_job(
    command: Sequence[str | Path],
    job: Mapping[str, Any],
    *,
    log: Path,
    timeout_s: float,
    progress: Progress = SILENT,
    env: Mapping[str, str] | None = None,
    on_interrupt: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Run `command JOB_FILE RESULT_FILE` and return what it wrote into RESULT_FILE.

    A result is a JSON object. One with the key `error` (`{"what", "where", "next_step"}`) is raised as a
    `ChildError`. `env` is added to this process's environment. With `on_interrupt`, the first Ctrl-C calls it and goes
    on waiting, so that the child can be asked to come to its end; a second one stops the child, as else the first does.

    Raises:
        ChildError: the child reported an error, was killed by a signal (named), ran over `timeout_s`,
            or ended without a result.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="slm-gate-") as folder:
        job_file, result_file = Path(folder, "job.json"), Path(folder, "result.json")
        job_file.write_text(json.dumps(job), encoding="utf-8")
        arguments = [str(part) for part in (*command, job_file, result_file)]
        returncode = _run(arguments, log, timeout_s, progress, {**os.environ, **(env or {})}, on_interrupt)
        result = _read_result(result_file)
    if result is not None and "error" in result:
        error = result["error"]
        raise ChildError(error["what"], where=error.get("where") or f"log: {log}", next_step=error.get("next_step"))
    if result is None or returncode != 0:
        raise ChildError(
            f"a child process {describe_exit(returncode)}",
            where=f"{log}\n{log_tail(log)}",
            next_step="read the log's last lines",
        )
    return result


def harness_module(module: str) -> list[str]:
    """The command that runs a harness module with this interpreter, from any working directory."""
    bootstrap = (
        f"import sys, runpy; sys.path.insert(0, {str(REPOSITORY)!r}); "
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-P", "-X", "utf8", "-c", bootstrap]  # -P: keeps the working directory off the import path


def serve_job(work: Callable[[dict[str, Any]], dict[str, Any]], arguments: Sequence[str]) -> None:
    """The child's side: read the job, do `work`, write the result; a `GateError` becomes the error entry."""
    job_file, result_file = map(Path, arguments)
    try:
        result = work(json.loads(job_file.read_text(encoding="utf-8")))
    except GateError as error:
        result = {"error": {"what": error.what, "where": error.where, "next_step": error.next_step}}
    result_file.write_text(json.dumps(result), encoding="utf-8")


def tell_progress(text: str) -> None:
    """The child's side: show a line to the user, through the parent's `progress`."""
    sys.stdout.write(f"{PROGRESS_MARK}{text}\n")
    sys.stdout.flush()


def tell_step(what: str, done: int, total: int) -> None:
    """The child's side: `done` of `total` units of the work called `what` are finished; call it with 0 first."""
    sys.stdout.write(f"{STEP_MARK}{done} {total} {what}\n")
    sys.stdout.flush()


@contextmanager
def time_limit(process: subprocess.Popen[str], timeout_s: float) -> Iterator[threading.Event]:
    """Kill a process that runs longer than `timeout_s`; the event that is given says whether that happened."""
    timed_out = threading.Event()

    def stop() -> None:
        timed_out.set()
        process.kill()

    watchdog = threading.Timer(timeout_s, stop)
    watchdog.start()
    try:
        yield timed_out
    finally:
        watchdog.cancel()


def log_tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log, indented for a message."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return "\n".join(f"    | {line}" for line in text.splitlines()[-lines:])


def _run(
    arguments: list[str],
    log: Path,
    timeout_s: float,
    progress: Progress,
    env: Mapping[str, str],
    on_interrupt: Callable[[], None] | None,
) -> int:
    with log.open("a", encoding="utf-8", errors="replace") as sink:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(env),
            encoding="utf-8",
            errors="replace",
        )
        try:
            with time_limit(process, timeout_s) as timed_out:
                try:
                    returncode = _follow(process, sink, progress)
                except KeyboardInterrupt:
                    if on_interrupt is None:
                        raise
                    on_interrupt()
                    returncode = _follow(process, sink, progress)
        except BaseException:
            process.kill()
            process.wait()
            raise
    if timed_out.is_set():
        raise ChildError(
            f"a child process {describe_timeout(timeout_s)}",
            where=f"{log}\n{log_tail(log)}",
            next_step="see in the log what it was doing",
        )
    return returncode


def _follow(process: subprocess.Popen[str], sink: IO[str], progress: Progress) -> int:
    assert process.stdout is not None
    _listen(process.stdout, sink, progress)
    return process.wait()


def _listen(output: IO[str], sink: IO[str], progress: Progress) -> None:
    """Write all output to the log, and show what is meant for the user."""
    steps: dict[str, Step] = {}
    for line in output:
        sink.write(line)
        if line.startswith(PROGRESS_MARK):
            progress.line(line.removeprefix(PROGRESS_MARK).rstrip())
        elif line.startswith(STEP_MARK):
            done, total, what = line.removeprefix(STEP_MARK).rstrip().split(" ", 2)
            if what not in steps or done == "0":
                steps[what] = progress.step(what)
            steps[what](int(done), int(total))


def _read_result(result_file: Path) -> dict[str, Any] | None:
    try:
        result = json.loads(result_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) else None


def describe_exit(returncode: int) -> str:
    """How a process ended, for a message: `was killed by SIGKILL (out of memory?)`."""
    if returncode < 0:
        try:
            name = signal.Signals(-returncode).name
        except ValueError:
            name = f"signal {-returncode}"
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"was killed by {name}{hint}"
    return f"ended with status {returncode} and without a result"


def describe_timeout(timeout_s: float) -> str:
    """The same for a process that `time_limit` killed."""
    return f"took longer than {timeout_s:.0f} s and was stopped"
