"""Runs one job in a child process: a JSON file in, a JSON file out, a log kept.

Conversion needs other package versions, memory must be measured in a process that holds nothing else, and a native
crash must not take the gate down. All three are the same need: a process of its own with a contract.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import ChildError

Notify = Callable[[str], None]
"""Takes one line of progress, meant for a person."""

PROGRESS_MARK = "@progress "
"""A child's output line that starts so is progress for the user; every line goes to the log."""

REPOSITORY = Path(__file__).resolve().parents[2]


def silent(_line: str) -> None:
    """A `Notify` for callers without a listener."""


def run_job(
    command: Sequence[str | Path],
    job: Mapping[str, Any],
    *,
    log: Path,
    timeout_s: float,
    notify: Notify = silent,
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run `command JOB_FILE RESULT_FILE` and return what it wrote into RESULT_FILE.

    A result is a JSON object. One with the key `error` (`{"what", "where", "next_step"}`) is raised as a
    `ChildError`. `env` is added to this process's environment.

    Raises:
        ChildError: the child reported an error, was killed by a signal (named), ran over `timeout_s`,
            or ended without a result.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="slm-gate-") as folder:
        job_file, result_file = Path(folder, "job.json"), Path(folder, "result.json")
        job_file.write_text(json.dumps(job), encoding="utf-8")
        arguments = [str(part) for part in (*command, job_file, result_file)]
        returncode = _run(arguments, log, timeout_s, notify, {**os.environ, **(env or {})})
        result = _read_result(result_file)
    if result is not None and "error" in result:
        error = result["error"]
        raise ChildError(error["what"], where=error.get("where") or f"log: {log}", next_step=error.get("next_step"))
    if result is None or returncode != 0:
        raise ChildError(
            describe_exit(returncode), where=f"{log}\n{log_tail(log)}", next_step="read the log's last lines"
        )
    return result


def harness_module(module: str) -> list[str]:
    """The command that runs a harness module with this interpreter, from any working directory."""
    bootstrap = (
        f"import sys, runpy; sys.path.insert(0, {str(REPOSITORY)!r}); "
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-P", "-X", "utf8", "-c", bootstrap]  # -P: nothing of the working directory


def serve_job(work: Callable[[dict[str, Any]], dict[str, Any]], arguments: Sequence[str]) -> None:
    """The child's side: read the job, do `work`, write the result; a `GateError` becomes the error entry."""
    from harness.errors import GateError

    job_file, result_file = map(Path, arguments)
    try:
        result = work(json.loads(job_file.read_text(encoding="utf-8")))
    except GateError as error:
        result = {"error": {"what": error.what, "where": error.where, "next_step": error.next_step}}
    result_file.write_text(json.dumps(result), encoding="utf-8")


def tell_progress(text: str) -> None:
    """The child's side: show a line to the user at once, through the parent's `notify`."""
    sys.stdout.write(f"{PROGRESS_MARK}{text}\n")
    sys.stdout.flush()


def log_tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log, indented for a message."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return "\n".join(f"    | {line}" for line in text.splitlines()[-lines:])


def _run(arguments: list[str], log: Path, timeout_s: float, notify: Notify, env: Mapping[str, str]) -> int:
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
        timed_out = threading.Event()

        def stop() -> None:
            timed_out.set()
            process.kill()

        watchdog = threading.Timer(timeout_s, stop)
        watchdog.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                sink.write(line)
                if line.startswith(PROGRESS_MARK):
                    notify(line.removeprefix(PROGRESS_MARK).rstrip())
            returncode = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            watchdog.cancel()
    if timed_out.is_set():
        raise ChildError(
            f"a child process took longer than {timeout_s:.0f} s and was stopped",
            where=f"{log}\n{log_tail(log)}",
            next_step="see in the log what it was doing",
        )
    return returncode


def _read_result(result_file: Path) -> dict[str, Any] | None:
    try:
        result = json.loads(result_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) else None


def describe_exit(returncode: int) -> str:
    """How a child process ended, in words; a signal by its name."""
    if returncode < 0:
        try:
            name = signal.Signals(-returncode).name
        except ValueError:
            name = f"signal {-returncode}"
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"a child process was killed by {name}{hint}"
    return f"a child process ended with status {returncode} and without a result"
