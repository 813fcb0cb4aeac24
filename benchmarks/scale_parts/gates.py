"""(a), (d) Whole gates on inflated models: 0.5 B with deployment, and the parts that tell at 1.5 B and 3 B."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.scale_parts.common import DEMO, Table, demo_pack, inflated, say
from benchmarks.scale_parts.runs import GateRun, run_gate
from harness.measure.source_answers import ask_source
from harness.source.source import resolve_source
from harness.toolchain.workspace import Workspace

BEFORE_MIN, BEFORE_SOURCE_MIN = 150.0, 17.5
"""Minutes at commit f02f98e, 0.5 B, two quiet cores: three variants with deployment, and the source's part of it."""

PARTS = (
    "suites/test_conversion.py",
    "suites/quality/test_domain_relevance.py",
    "suites/quality/test_format.py",
    "suites/test_precision_comparison.py",
    "suites/performance/test_latency.py::test_answers_come_fast_enough",
    "suites/quality/test_memory_leaks.py::test_onnxruntime_genai_does_not_leak",
)
"""Of `sizes`: convert, quality, divergence, latency, one leak check."""

OF_THE_SOURCE = ("source-answers", "reference_logits")


def measure_gate(place: Workspace, scratch: Path, *, size: str, variants: str, is_cold: bool, plan: str) -> Table:
    """(a) The whole gate with deployment: with an empty cache, or with nothing in it but the source's answers."""
    table = Table(head=("run", "minutes", "before", "peak memory", "verdicts"))
    model, cache = inflated(size, scratch, place), scratch / f"gate-cache-{size}"
    cache.mkdir(exist_ok=True)
    for folder in cache.iterdir():
        if is_cold or folder.name not in OF_THE_SOURCE:
            shutil.rmtree(folder, ignore_errors=True)
    if not is_cold:
        ask_source(resolve_source(str(model)), demo_pack(), replace(place, cache=cache))
    name = f"{'an empty cache' if is_cold else 'the reference at hand'}, {plan or 'all cases'}"
    say(f"the gate with {name}")
    run = _gate(model, cache, place, variants, scratch / "gate-results", [f"--{plan}"] if plan else [])
    before = BEFORE_MIN if is_cold else BEFORE_MIN - BEFORE_SOURCE_MIN
    minutes = run.wall_s / 60
    told = f"{before:.0f} ({before / minutes:.1f} times)"
    table.rows.append((name, f"{minutes:.1f}", told, f"{run.peak_rss_bytes / 1e9:.1f} GB", run.verdicts))
    table.notes.extend([*_slowest(name, run), "Before: commit f02f98e, three variants."])
    return table


def _gate(model: Path, cache: Path, place: Workspace, variants: str, results: Path, more: Sequence[object]) -> GateRun:
    python = place.toolchain().python
    shutil.rmtree(results, ignore_errors=True)
    options = ["--model", model, "--domain", DEMO / "pack", "--variants", variants, "--cache-dir", cache]
    return run_gate([*options, *more, "--toolchain", python, "--durations", 12, "--durations-min", 5], results=results)


def _slowest(name: str, run: GateRun) -> list[str]:
    lines = run.log.read_text(encoding="utf-8", errors="replace").splitlines()
    found = [" ".join(line.split()) for line in lines if line.split()[1:2] in (["setup"], ["call"], ["teardown"])]
    return [f"Slowest, {name}: {'; '.join(found[:8])}."] if found else []


def measure_sizes(place: Workspace, scratch: Path, *, sizes: Sequence[str]) -> Table:
    """(d) Larger models through convert, quality, divergence, latency and one leak check, in int4."""
    table = Table(head=("size", "minutes", "peak memory", "verdict", "what stopped it"))
    pack = _small_pack(scratch / "small-pack")
    for size in sizes:
        model, cache = inflated(size, scratch, place), scratch / f"gate-cache-{size}"
        shutil.rmtree(cache, ignore_errors=True)
        say(f"{size}: the gate's parts")
        options = ["--model", model, "--domain", pack, "--variants", "int4", "--cache-dir", cache]
        options += ["--toolchain", place.toolchain().python, "--durations", 12, "--durations-min", 5]
        run = run_gate(options, results=scratch / f"sizes-{size}", suites=PARTS)
        problems = [
            problem["message"].splitlines()[0]
            for variant in run.record.get("variants", {}).values()
            for problem in variant.get("problems", [])
        ]
        told = run.record.get("unusable") or "; ".join(dict.fromkeys(problems)) or "nothing"
        table.rows.append((size, f"{run.wall_s / 60:.1f}", f"{run.peak_rss_bytes / 1e9:.1f} GB", run.verdicts, told))
        table.notes.extend(_slowest(size, run))
    table.notes.append(
        "int4, one of five cases and of eight texts of the demo's pack, long questions behind 100 tokens: conversion "
        "with its proofs, the source's answers and logits, quality, divergence, latency, one leak check; from an empty "
        "cache."
    )
    return table


def _small_pack(folder: Path) -> Path:
    """The demo's pack with some of its questions: whether a size passes through does not hang on their number."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(DEMO / "pack", folder)
    _thin(folder / "cases.jsonl", lambda number: number % 5 == 0)
    _thin(folder / "texts.jsonl", lambda number: number % 8 == 0)
    domain = folder / "domain.toml"
    text, replaced = re.subn("padding_tokens = .*", "padding_tokens = [0, 100]", domain.read_text(encoding="utf-8"))
    assert replaced == 1
    domain.write_text(text, encoding="utf-8")
    return folder


def _thin(file: Path, is_kept: Callable[[int], bool]) -> None:
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join(line for number, line in enumerate(lines) if is_kept(number)), encoding="utf-8")
