"""Tables of time and memory, beside the precision comparison."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from tabulate import tabulate

from harness.measure.latency import LatencyRow
from harness.metrics.catalogue import METRICS
from harness.metrics.units import Unit, format_value
from harness.report.record import RunRecord
from harness.stats.estimate import Estimate

_TIMES: Final = (
    "ttft_p50_s", "ttft_p95_s", "itl_p50_s", "itl_p95_s", "itl_p99_s", "e2e_p50_s", "e2e_p95_s",
    "prefill_tokens_per_second", "decode_tokens_per_second",
)  # fmt: skip
_LIMITS: Final = ("decode_bandwidth_share", "prefill_compute_share")


def speed_tables(record: RunRecord, style: str = "simple") -> Iterator[tuple[str, str]]:
    """The tables that the run has numbers for, each with its title."""
    if any(variant.details.latency_grid for variant in record.variants.values()):
        yield "latency: prompt + generated tokens, xBATCH, after CACHE", latency_table(record, style)
    elif any(variant.latency_by_prompt_tokens for variant in record.variants.values()):
        yield "latency by prompt length", latency_by_length(record, style)
    if any("loaded_rss_bytes" in variant.metrics for variant in record.variants.values()):
        yield "memory of a process with the model alone", process_table(record, _PROCESS, style)
        yield "processor use of the same", process_table(record, _CPU, style)


_PROCESS: Final[Mapping[str, str]] = {
    "load_s": "load", "cold_ttft_s": "cold TTFT", "loaded_rss_bytes": "loaded", "loaded_anonymous_bytes": "anonymous",
    "loaded_mapped_bytes": "mapped", "loaded_pss_bytes": "PSS", "loaded_swap_bytes": "swap",
    "longest_prompt_peak_bytes": "longest prompt", "peak_rss_bytes": "peak", "cache_token_bytes": "cache/token",
    "cache_token_predicted_bytes": "predicted", "unload_retention_bytes": "kept",
    "unload_retention_trimmed_bytes": "kept, trimmed",
}  # fmt: skip
_CPU: Final[Mapping[str, str]] = {
    "compute_thread_count": "threads", "cpu_utilization": "utilization", "cpu_seconds_per_token": "CPU s/token",
    "token_joules": "energy/token", "minor_fault_count": "minor faults", "major_fault_count": "major faults",
    "voluntary_switch_count": "voluntary switches", "involuntary_switch_count": "involuntary switches",
}  # fmt: skip


def process_table(record: RunRecord, heads: Mapping[str, str], style: str) -> str:
    """Readings of the process that held a variant alone; empty where there are none, a column only where one told."""
    variants = {name: one.metrics for name, one in record.variants.items() if any(m in one.metrics for m in heads)}
    told = [metric for metric in heads if any(found.get(metric) is not None for found in variants.values())]
    rows = [[name, *_cells(found, tuple(told))] for name, found in variants.items()]
    headers = ["variant", *(heads[metric] for metric in told)]
    return tabulate(rows, headers=headers, tablefmt=style, disable_numparse=True) if rows else ""


def latency_table(record: RunRecord, style: str = "simple") -> str:
    """Times and rates, one row per variant and point of the grid; an invalid row says why."""
    rows = [
        [name, str(row.point), row.rounds, *_cells(row.estimates, (*_TIMES, *_LIMITS)), _state(row)]
        for name, variant in record.variants.items()
        for row in sorted((variant.details.latency_grid or {}).values(), key=lambda row: row.point)
    ]
    headers = ["variant", "tokens", "requests", *map(_head, (*_TIMES, *_LIMITS)), ""]
    return tabulate(rows, headers=headers, tablefmt=style, disable_numparse=True)


def latency_by_length(record: RunRecord, style: str = "simple") -> str:
    """The same of a record that has no grid: one row per variant and prompt length."""
    rows = [
        [name, length, *_cells(found, _TIMES)]
        for name, variant in record.variants.items()
        for length, found in sorted(variant.latency_by_prompt_tokens.items())
    ]
    headers = ["variant", "prompt tokens", *map(_head, _TIMES)]
    return tabulate(rows, headers=headers, tablefmt=style, disable_numparse=True)


def _head(metric: str) -> str:
    """The metric without its unit, which the cells have, in two lines."""
    name = metric.removesuffix("_s").removesuffix("_tokens_per_second")
    return {"decode_bandwidth_share": "of bandwidth", "prefill_compute_share": "of peak"}.get(
        name, name.replace("_", " ")
    )


def _cells(found: Mapping[str, Estimate], metrics: tuple[str, ...]) -> list[str]:
    return [METRICS[metric].format(found[metric].value if metric in found else None) for metric in metrics]


def _state(row: LatencyRow) -> str:
    """The first remark; the record has all of them."""
    others = len(row.remarks) - 1
    words = next(iter(row.remarks), "") + (f" and {others} more" if others > 0 else "")
    return words if row.is_valid else f"INVALID: {words}"


def load_table(record: RunRecord, style: str = "simple") -> str:
    """The web service under load, one row per variant and number of clients or rate of arrival."""
    times = ("ttft_p50_s", "ttft_p95_s", "queue_p50_s", "queue_p95_s", "itl_p50_s", "itl_p95_s", "tpot_p95_s")
    columns = {
        "arrival_per_second": Unit.PER_SECOND,
        "requests_per_second": Unit.PER_SECOND,
        "goodput_per_second": Unit.PER_SECOND,
        "tokens_per_second": Unit.PER_SECOND,
        **dict.fromkeys(times, Unit.SECONDS),
    }
    counts = ("clients", "requests", "errors", "same")
    rows = [
        [
            name,
            *(getattr(level, count) for count in counts),
            *(format_value(unit, getattr(level, column)) for column, unit in columns.items()),
        ]
        for name, variant in record.variants.items()
        for level in variant.details.load or ()
    ]
    heads = [column.removesuffix("_s").removesuffix("_per_second").replace("_", " ") for column in columns]
    return tabulate(rows, headers=["variant", *counts, *heads], tablefmt=style, disable_numparse=True)
