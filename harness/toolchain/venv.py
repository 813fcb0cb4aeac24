"""Makes a virtual environment with pip and shows what pip is doing."""

from __future__ import annotations

import queue
import re
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from harness.errors import ToolchainError
from harness.system.child import log_tail
from harness.system.progress import Progress

HEARTBEAT_S = 5.0
_DECISIVE = re.compile(
    r"^(ERROR|error)[: ]|No space left|No matching distribution|Could not find a version", re.MULTILINE
)
_NETWORK = re.compile(
    r"NewConnectionError|Temporary failure|Connection (refused|reset|aborted)|ConnectTimeout|getaddrinfo|"
    r"Max retries exceeded|ProxyError|SSLError|No matching distribution",
    re.IGNORECASE,
)


def create_venv(python: Path, folder: Path, *, log: Path, progress: Progress) -> None:
    """Make an empty virtual environment.

    Raises:
        ToolchainError: quotes the decisive line of the log.
    """
    run_with_heartbeat([str(python), "-m", "venv", str(folder)], log=log, progress=progress, what="venv")


def install(python: Path, packages: Sequence[str], *, log: Path, progress: Progress) -> None:
    """Install pinned packages with pip, its own settings (index, proxy) respected.

    Raises:
        ToolchainError: quotes the decisive line of pip's output.
    """
    command = [str(python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    run_with_heartbeat([*command, "--progress-bar", "off", *packages], log=log, progress=progress, what="pip")


def run_with_heartbeat(command: Sequence[str], *, log: Path, progress: Progress, what: str) -> None:
    """Run a command; show its newest line and the time so far every few seconds, and log all of its output."""
    started_s = time.perf_counter()
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            encoding="utf-8", errors="replace",
        )  # fmt: skip
    except OSError as error:
        raise ToolchainError(f"{what} does not start: {error}", where=command[0]) from error
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_pump, args=(process, lines), daemon=True).start()
    try:
        _follow(lines, log, progress, what, started_s)
        returncode = process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    if returncode != 0:
        raise _failure(what, returncode, log)


def _pump(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(None)


def _follow(lines: queue.Queue[str | None], log: Path, progress: Progress, what: str, started_s: float) -> None:
    newest, shown_s = "starting", started_s
    with log.open("a", encoding="utf-8") as sink:
        while True:
            try:
                line = lines.get(timeout=HEARTBEAT_S)
            except queue.Empty:
                line = ""
            if line is None:
                return
            if line.strip():
                sink.write(line)
                sink.flush()
                newest = newest if line.startswith(("WARNING", "DEPRECATION")) else line.strip()
            now_s = time.perf_counter()
            if not line or now_s - shown_s >= HEARTBEAT_S:
                progress.line(f"{what}: {newest[:100]} ({now_s - started_s:.0f} s)")
                shown_s = now_s


def _failure(what: str, returncode: int, log: Path) -> ToolchainError:
    text = log.read_text(encoding="utf-8", errors="replace")
    decisive_lines = [line for line in text.splitlines() if _DECISIVE.search(line)]
    decisive = decisive_lines[-1].strip() if decisive_lines else f"it ended with status {returncode}"
    if "No space left" in text:
        hint = "free some disk space, or use another cache folder"
    elif _NETWORK.search(text):
        hint = (
            "let pip reach a package index (PIP_INDEX_URL and HTTPS_PROXY are respected), "
            "or point --toolchain at a Python that has the packages"
        )
    else:
        hint = "read the log, or point --toolchain at a Python that has the packages"
    return ToolchainError(f"{what} failed: {decisive}", where=f"{log}\n{log_tail(log, 6)}", next_step=hint)
