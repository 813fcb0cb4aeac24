"""Converts all variants of a model with Olive, in one process of the toolchain.

Runs as a plain script where the harness cannot be imported: `python olive_worker.py JOB_FILE RESULT_FILE`.
The job is `{"variants": {NAME: {"config" or "builder", "output", "work", "log"}}, "reference_logits", "log"}`; each
variant's outcome goes to `result.json` in its own work folder as soon as there is one, so that a crash in one variant
does not affect the others.
"""

import contextlib
import copy
import ctypes
import json
import logging
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

HEARTBEAT_S = 5.0
parent = os.getppid()


class Narrator:
    """Reports to the parent which variant is being made and for how long, and ends with the parent."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.what = "starting Olive"
        self.started_s = time.perf_counter()
        threading.Thread(target=self._beat, daemon=True).start()

    def begin(self, what: str) -> None:
        """Start a new subject."""
        self.what, self.started_s = what, time.perf_counter()
        self.say(what)

    def say(self, text: str) -> None:
        """Send one line of progress."""
        self.stream.write(f"@progress {text}\n")
        self.stream.flush()

    def _beat(self) -> None:
        said_s = time.perf_counter()
        while True:
            time.sleep(0.5)
            if os.name != "nt" and os.getppid() != parent:
                os._exit(1)  # the parent is gone
            if time.perf_counter() - max(said_s, self.started_s) >= HEARTBEAT_S:
                said_s = time.perf_counter()
                self.say(f"{self.what} ({said_s - self.started_s:.0f} s)")


@contextlib.contextmanager
def output_to(log: str) -> Iterator[None]:
    """Send everything that this process prints, from C++ too, to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with Path(log).open("ab") as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            os.close(kept[0])
            os.close(kept[1])


def reset_peak_rss() -> None:
    """Reset the kernel's memory high-water mark, if possible."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_rss_bytes() -> int | None:
    """Largest resident size since the last reset; None if the system does not report it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), None)


def give_back_memory() -> None:
    """Return freed memory to the system, so that it does not count for the next variant."""
    import gc

    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def produced_folders(output: str) -> list[str]:
    """Every folder below `output` that holds a model for onnxruntime-genai."""
    return [
        str(file.parent) for file in sorted(Path(output).rglob("genai_config.json")) if any(file.parent.glob("*.onnx"))
    ]


def sibling(name: str) -> dict[str, Any]:
    """The globals of a script beside this one; these scripts are no package."""
    return runpy.run_path(str(Path(__file__).with_name(name)))


def run_olive(variant: dict[str, Any], source: Any) -> int | None:
    """Run one workflow and return its peak memory in bytes; `run` reports no failure."""
    from olive.workflows import run  # only in the toolchain
    from onnxruntime_genai.models import builder  # type: ignore[import-not-found, unused-ignore]

    with (
        sibling("amendments.py")["amended"](builder),
        sibling("low_memory_quantizer.py")["low_memory_quantizer"](),
        source.in_place(),
    ):
        run(copy.deepcopy(variant["config"]), tempdir=str(Path(variant["work"], "tmp")))
    return peak_rss_bytes()


def run_builder(variant: dict[str, Any]) -> int | None:
    """Run the builder of another release of onnxruntime-genai in a child process; returns its peak memory in bytes."""
    script, peak = Path(__file__).with_name("builder_worker.py"), Path(variant["work"], "peak")
    command = [sys.executable, "-E", "-s", "-P", str(script), str(peak), *variant["builder"]]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    sys.stderr.write(done.stderr)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1])
    return int(peak.read_text()) or None


def make(variant: dict[str, Any], source: Any) -> dict[str, Any]:
    """Make one variant; the result depends only on the files on the disk afterwards."""
    error, peak_bytes = None, None
    reset_peak_rss()
    started_s = time.perf_counter()
    with output_to(variant["log"]):
        try:
            peak_bytes = run_builder(variant) if "builder" in variant else run_olive(variant, source)
        except (Exception, SystemExit) as caught:  # noqa: BLE001  # reported; the other variants go on
            traceback.print_exc()
            error = f"{type(caught).__name__}: {caught}"
    return {
        "folders": produced_folders(variant["output"]),
        "error": error,
        "conversion_s": time.perf_counter() - started_s,
        "peak_rss_bytes": peak_bytes,
    }


def save(file: Path, content: dict[str, Any]) -> None:
    """Write a result atomically."""
    part = Path(f"{file}.part")
    part.write_text(json.dumps(content), encoding="utf-8")
    part.replace(file)


def import_olive(log: str) -> None:
    """Import Olive with its warnings switched on: they name the options it ignores."""
    with output_to(log):
        from olive.logging import set_default_logger_severity
        from olive.workflows import run  # noqa: F401

        set_default_logger_severity(1)
        for handler in logging.getLogger("olive").handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setStream(sys.stdout)


def die_with_parent() -> None:
    """Have the kernel end this process with its parent, if possible; elsewhere the narrator does it."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def main(job_file: str, result_file: str) -> None:
    """Do the job, one variant after the other."""
    die_with_parent()
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    narrator = Narrator(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    started_s = time.perf_counter()
    narrator.begin("starting Olive")
    if any("config" in variant for variant in job["variants"].values()):
        import_olive(job["log"])
    import_s = time.perf_counter() - started_s
    collect = sibling("reference_logits_worker.py")["collect"]
    with output_to(job["log"]):
        collect([part for part in job["reference_logits"] if part["kind"] == "tokens"])
    source = sibling("shared_source.py")["SharedSource"]()
    for name, variant in job["variants"].items():
        narrator.begin(f"{name}: converting")
        work = Path(variant["work"])
        (work / "tmp").mkdir(parents=True, exist_ok=True)
        (work / "started").touch()
        save(work / "result.json", make(variant, source))
        give_back_memory()
    times_read = source.forget()
    give_back_memory()
    logits = [part for part in job["reference_logits"] if part["kind"] == "logits"]
    narrator.begin("asking the source model for its logits" if logits else "all converted")
    with output_to(job["log"]):
        collect(logits)
    save(Path(result_file), {"import_s": import_s, "source_reads": times_read})


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # the result is on the disk; do not wait for Olive's threads
