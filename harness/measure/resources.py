"""Estimates of memory, CPU, threads and energy from the readings of one process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from harness.artifact.artifact import Artifact
from harness.artifact.genai_config import read_settings
from harness.config.benchmark import BenchmarkSettings
from harness.machine.energy import NOT_MEASURABLE
from harness.measure.bounds import footprint
from harness.measure.latency import LEAVE_ALONE
from harness.measure.memory import ResourceResult
from harness.metrics.measurement import Measured, Measurement
from harness.metrics.units import Unit, format_bytes, format_seconds, format_value
from harness.stats.estimate import Estimate

_NOT_TOLD: Final = "this system does not tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the readings are held against."""

    threads: int | None = None
    """Threads that were asked for; None where nobody did."""

    asked_by: str = ""
    """Where: `gate.toml, [benchmark]`, or the config of the artifact."""

    cache_bytes_per_token: int | None = None
    """What the graph says that a token takes in the cache."""

    is_invalid_if_disturbed: bool = True


def expected_of(artifact: Artifact, settings: BenchmarkSettings) -> Expected:
    """What the settings and the artifact's own config ask for, and what its graph says.

    Raises:
        ArtifactError: the config cannot be read.
    """
    options = read_settings(artifact.path)["model"]["decoder"].get("session_options") or {}
    own = options.get("intra_op_num_threads")
    asked_by, threads = "gate.toml, [benchmark]", settings.threads
    if threads is None and isinstance(own, int) and own > 0:
        asked_by, threads = "genai_config.json", own
    return Expected(
        threads=threads,
        asked_by=asked_by,
        cache_bytes_per_token=footprint(artifact).cache_bytes_per_token,
        is_invalid_if_disturbed=settings.disturbed == "invalid",
    )


def measured_resources(found: ResourceResult, expected: Expected) -> Measured:
    """Load time, memory in its parts, CPU use, threads and energy: readings of one process, without an interval.

    Times that were read while the machine was stolen, loaded or throttled are no data; memory stays.
    """
    estimates = {**_times(found, expected), **_memory(found), **_counts(found)}
    met = expected.threads is None or found.compute_threads == expected.threads
    estimates["threads_as_asked"] = Estimate.exact(float(met))
    if expected.cache_bytes_per_token:
        estimates["cache_token_predicted_bytes"] = Estimate.exact(expected.cache_bytes_per_token, n=1)
    return Measured(
        measurement=Measurement(estimates=estimates, details=_details(found, expected)), samples={"resources": [found]}
    )


def _times(found: ResourceResult, expected: Expected) -> dict[str, Estimate]:
    answers = len(found.samples)
    at_load = {"load_s": Estimate.exact(found.load_s, n=1)}
    later = {
        "cold_ttft_s": _told(found.cold_ttft_s),
        "cpu_utilization": Estimate.exact(found.cpu_utilization, n=answers),
        "cpu_seconds_per_token": Estimate.exact(found.cpu_seconds_per_token, n=found.tokens),
    }
    if not expected.is_invalid_if_disturbed:
        return {**at_load, **later}
    return {**_valid(at_load, found.load_disturbances), **_valid(later, found.disturbances)}


def _valid(estimates: dict[str, Estimate], disturbances: Sequence[str]) -> dict[str, Estimate]:
    why = Estimate.missing(f"invalid: {'; '.join(disturbances)}")
    return dict.fromkeys(estimates, why) if disturbances else estimates


def _memory(found: ResourceResult) -> dict[str, Estimate]:
    loaded, unloaded, trimmed, before = found.loaded, found.unloaded, found.trimmed, found.baseline
    kept = None if unloaded is None or before is None else unloaded.held_bytes - before.held_bytes
    kept_after = None if trimmed is None or before is None else trimmed.held_bytes - before.held_bytes
    longest = max(found.lengths, key=lambda row: row.prompt_tokens, default=None)
    return {
        "peak_rss_bytes": Estimate.exact(found.peak_rss_bytes, n=1),
        "loaded_rss_bytes": Estimate.exact(found.rss_after_load_bytes, n=1),
        "loaded_anonymous_bytes": _told(None if loaded is None else loaded.anonymous_bytes),
        "loaded_mapped_bytes": _told(None if loaded is None else loaded.mapped_bytes),
        "loaded_pss_bytes": _told(None if loaded is None else loaded.pss_bytes),
        "loaded_swap_bytes": _told(None if loaded is None else loaded.swap_bytes),
        "longest_prompt_peak_bytes": _told(None if longest is None else longest.peak_rss_bytes),
        "cache_token_bytes": _told(found.cache_bytes_per_token),
        "unload_retention_bytes": _told(kept),
        "unload_retention_trimmed_bytes": _told(kept_after),
    }


def _counts(found: ResourceResult) -> dict[str, Estimate]:
    joules = None if found.joules is None else found.joules / found.tokens
    return {
        "compute_thread_count": _told(found.compute_threads),
        "minor_fault_count": _told(found.minor_faults),
        "major_fault_count": _told(found.major_faults),
        "voluntary_switch_count": _told(found.voluntary_switches),
        "involuntary_switch_count": _told(found.involuntary_switches),
        "token_joules": Estimate.missing(NOT_MEASURABLE) if joules is None else Estimate.exact(joules, n=found.tokens),
    }


def _told(value: float | None) -> Estimate:
    return Estimate.missing(_NOT_TOLD) if value is None else Estimate.exact(value, n=1)


def _details(found: ResourceResult, expected: Expected) -> dict[str, str]:
    cpu = f"{found.cpu_s:.3g} CPU s in {found.wall_s:.3g} s on {found.logical_cpus} CPUs"
    cpu = f"{cpu}; {len(found.samples)} answers, {found.tokens} tokens"
    before, after = format_bytes(found.baseline_rss_bytes), format_bytes(found.rss_after_load_bytes)
    rows = [
        f"{row.prompt_tokens} tokens of prompt: {format_bytes(row.peak_rss_bytes)}"
        + ("" if row.is_own_peak else " or less")
        for row in found.lengths
    ]
    cache = format_value(Unit.BYTES, expected.cache_bytes_per_token)
    if found.disturbances and expected.is_invalid_if_disturbed:
        cpu = f"{cpu}\n{LEAVE_ALONE}"
    return {
        "load_s": f"imports took {format_seconds(found.import_s)} before it",
        "peak_rss_bytes": "\n".join([f"{before} before the model was loaded, {after} after", *rows]),
        "cpu_utilization": cpu,
        "cpu_seconds_per_token": cpu,
        "cache_token_bytes": f"the graph says {cache}",
        "threads_as_asked": _threads(found, expected),
    }


def _threads(found: ResourceResult, expected: Expected) -> str:
    """What was asked for and what came of it."""
    asked = f"{expected.asked_by} asks for {expected.threads} threads" if expected.threads else "nobody asked"
    return f"{asked}, {found.compute_threads} compute"
