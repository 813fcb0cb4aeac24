"""What commands do with the terminal: progress on it, and programs that run on it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.system.progress import BETWEEN_LOGGED_STEPS_S, LineProgress, Progress


def tolerate_narrow_output() -> None:
    """Where the terminal's encoding lacks a character of a message, another one is shown instead of a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Progress while something runs: one live line that goes at the end, or plain lines where nobody sees it move."""
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        yield LineProgress(lambda line: print(f"  … {line}", flush=True), between_s=BETWEEN_LOGGED_STEPS_S)
        return
    from rich.console import Console  # here: most commands show no progress
    from rich.text import Text

    with Console().status("", spinner="line") as status:
        yield LineProgress(lambda line: status.update(Text(line)))


def run_program(command: Sequence[str | Path]) -> int:
    """Run a program on this terminal and return its exit status, 128 + n where signal n ended it.

    Ctrl-C reaches the program as well as this process: the program is given the time to keep what it finished; a
    second one ends it.

    Raises:
        KeyboardInterrupt: after the program has ended.
        OSError: the program cannot be started.
    """
    with subprocess.Popen([str(part) for part in command]) as child:
        try:
            status = child.wait()
        except KeyboardInterrupt:
            try:
                child.wait()
            except KeyboardInterrupt:
                child.kill()
            raise
    return status if status >= 0 else 128 - status
