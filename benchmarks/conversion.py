"""Converts a model into int4, int8 and fp16, and against that calls `olive run` three times, once for each.

Both start with empty caches and telemetry off, one after the other. Olive gets the gate's workflows for int4 and int8,
and for fp16 the one that it offers for CPU, ModelBuilder(fp32) and OnnxFloatToFloat16; a fourth call takes the gate's,
and a second comparison counts that instead. The gate's share includes what Olive's has not: inspection, one token from
each model, the tokenizer's corpus.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
from tabulate import tabulate

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from harness.convert.convert import convert  # noqa: E402
from harness.errors import GateError  # noqa: E402  # the script runs without an installation
from harness.metrics.units import format_bytes, format_seconds  # noqa: E402
from harness.recipes.recipe import load_recipe, olive_run_config  # noqa: E402
from harness.source.source import Source, resolve_source  # noqa: E402
from harness.system.paths import default_cache  # noqa: E402
from harness.system.progress import LineProgress  # noqa: E402
from harness.toolchain.toolchain import Toolchain, ensure_toolchain, quiet_environment  # noqa: E402
from harness.toolchain.workspace import Workspace  # noqa: E402

VARIANTS = ("int4", "int8", "fp16")
FP16_FOR_CPU = {
    "build": {"type": "ModelBuilder", "precision": "fp32"},
    "round": {"type": "OnnxFloatToFloat16", "keep_io_types": False, "save_as_external_data": True},
}
SAMPLE_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one way took."""

    wall_s: float
    peak_rss_bytes: int
    """Largest sum over all processes below this one; sampled, so a spike shorter than 50 ms may be missed."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="folder of the source model")
    parser.add_argument("--toolchain", type=Path, help="an existing interpreter with the packages")
    given = parser.parse_args()
    toolchain = ensure_toolchain(cache=default_cache(), python=given.toolchain)
    source = resolve_source(given.model)
    millions = (source.parameter_count or 0) / 1e6
    print(f"{millions:.1f} M parameters, {format_bytes(source.size_bytes)}; {os.cpu_count()} cores")
    ours = cost_of(lambda: convert_together(source, toolchain))
    alone = {variant: cost_of(partial(call_olive, source, variant, toolchain)) for variant in VARIANTS}
    gates_fp16 = cost_of(lambda: call_olive(source, "fp16", toolchain, passes=None))
    rows = [["gate, all three", format_seconds(ours.wall_s), format_bytes(ours.peak_rss_bytes)]]
    rows += [
        [f"olive run, {variant}", format_seconds(cost.wall_s), format_bytes(cost.peak_rss_bytes)]
        for variant, cost in alone.items()
    ]
    rows.append(["(gate's fp16 workflow)", format_seconds(gates_fp16.wall_s), format_bytes(gates_fp16.peak_rss_bytes)])
    print(tabulate(rows, headers=["", "wall time", "peak memory"], disable_numparse=True))
    compare(ours, alone, "three olive calls")
    compare(ours, {**alone, "fp16": gates_fp16}, "with the gate's fp16 workflow given to olive")


def compare(ours: Cost, alone: dict[str, Cost], what: str) -> None:
    """Say how the gate's cost stands to that of single calls."""
    theirs_s = sum(cost.wall_s for cost in alone.values())
    hungriest_bytes = max(cost.peak_rss_bytes for cost in alone.values())
    print(
        f"{what}: {format_seconds(theirs_s)}, {theirs_s / ours.wall_s:.1f} times as long; the gate takes "
        f"{ours.wall_s / theirs_s:.0%} of their time and {ours.peak_rss_bytes / hungriest_bytes:.0%} of their peak"
    )


def cost_of(work: Callable[[], None]) -> Cost:
    """Wall time and memory of the processes that `work` starts."""
    peak_bytes, is_over = 0, threading.Event()

    def watch() -> None:
        nonlocal peak_bytes
        while not is_over.wait(SAMPLE_S):
            peak_bytes = max(peak_bytes, sum(map(rss_bytes, psutil.Process().children(recursive=True))))

    watcher = threading.Thread(target=watch)
    watcher.start()
    started_s = time.perf_counter()
    try:
        work()
        wall_s = time.perf_counter() - started_s
    finally:
        is_over.set()
        watcher.join()
    return Cost(wall_s=wall_s, peak_rss_bytes=peak_bytes)


def rss_bytes(process: psutil.Process) -> int:
    """Resident size; 0 for a process that is gone."""
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def convert_together(source: Source, toolchain: Toolchain) -> None:
    """The gate's way: one worker, tested artifacts."""
    recipes = {name: load_recipe(name) for name in VARIANTS}
    with tempfile.TemporaryDirectory(dir=scratch()) as cache:
        workspace = Workspace(cache=Path(cache), toolchain=toolchain, progress=LineProgress(print))
        results = convert(source, recipes, workspace)
        for name, result in results.items():
            if isinstance(result, GateError):
                sys.exit(str(result))
            size, took = format_bytes(result.size_bytes), format_seconds(result.conversion_s or 0.0)
            print(f"  {name}: {size} on disk, {took} of Olive, peak {format_bytes(result.peak_rss_bytes or 0)}")


def call_olive(
    source: Source, variant: str, toolchain: Toolchain, passes: dict[str, object] | None = FP16_FOR_CPU
) -> None:
    """One call of the command line, with the gate's workflow; with `passes` instead of its own for fp16."""
    with tempfile.TemporaryDirectory(dir=scratch()) as name:
        folder = Path(name)
        recipe = load_recipe(variant).resolved(source.input_widths)
        config = olive_run_config(recipe, source.path, folder / "out", folder / "cache")
        if variant == "fp16" and passes:
            accelerator = {"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}
            config["systems"]["local"]["accelerators"] = [accelerator]
            config["passes"] = passes
        (folder / "olive.json").write_text(json.dumps(config))
        command = [str(toolchain.python), "-m", "olive", "run", "--config", str(folder / "olive.json")]
        environment = {**os.environ, **quiet_environment(), "HF_HUB_CACHE": str(folder / "hub")}
        subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True)
        if not list((folder / "out").rglob("genai_config.json")):
            sys.exit(f"olive run made no {variant}")


def scratch() -> Path:
    """Where the gate's cache is too, so that both write to the same disk."""
    cache = default_cache()
    cache.mkdir(parents=True, exist_ok=True)
    return cache


if __name__ == "__main__":
    main()
