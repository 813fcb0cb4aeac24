"""Runs of the gate in a process of their own: how long they took, and how much memory their processes had together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.scale_parts.common import ROOT
from harness.metrics.units import format_bytes

SAMPLE_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRun:
    """What one run took, and its record."""

    wall_s: float
    peak_rss_bytes: int
    """Largest sum over its processes, pages that they share counted once for each; sampled five times a second."""

    status: int
    record: dict[str, Any]
    log: Path

    @property
    def verdicts(self) -> str:
        """`int4 pass, int8 pass`."""
        return ", ".join(f"{name} {one['verdict']}" for name, one in self.record.get("variants", {}).items())

    @property
    def told(self) -> str:
        """Time, memory, verdicts, exit status."""
        time_told = f"{self.wall_s / 60:.1f} min" if self.wall_s > 120 else f"{self.wall_s:.1f} s"
        return f"{time_told}, {format_bytes(self.peak_rss_bytes)}, {self.verdicts} (exit status {self.status})"


def run_gate(options: Sequence[object], *, results: Path, suites: Sequence[str] = ("suites",)) -> GateRun:
    """`pytest SUITES OPTIONS`, its output in a log beside the results."""
    results.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pytest", *suites, "-p", "no:cacheprovider", "--results-dir", results, *options]
    log = results / "gate.log"
    started_s = time.perf_counter()
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [str(part) for part in command], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=sink, stderr=sink,
        )  # fmt: skip
        peak = _Peak(process.pid)
        status = process.wait()
    file = results / "latest" / "run.json"
    record = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return GateRun(
        wall_s=time.perf_counter() - started_s, peak_rss_bytes=peak.stop(), status=status, record=record, log=log
    )


class _Peak:
    """Samples the memory of a process and its children until it is stopped."""

    def __init__(self, pid: int) -> None:
        self._pid, self._bytes, self._is_over = pid, 0, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """The largest sum so far, bytes."""
        self._is_over.set()
        self._thread.join()
        return self._bytes

    def _sample(self) -> None:
        while not self._is_over.wait(SAMPLE_S):
            try:
                parent = psutil.Process(self._pid)
                found = [_rss_bytes(one) for one in (parent, *parent.children(recursive=True))]
            except psutil.Error:
                return
            self._bytes = max(self._bytes, sum(found))


def _rss_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
