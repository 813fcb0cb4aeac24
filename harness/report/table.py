"""The precision comparison as a table, for terminals and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from harness.report.record import ProblemRecord, RunRecord, VariantRecord
from harness.units import format_metric

ROWS: dict[str, tuple[str, ...]] = {
    "quality": (
        "exact_match_rate",
        "exact_match_dev_rate",
        "exact_match_final_rate",
        "out_of_scope_rate",
        "json_valid_rate",
        "edge_case_rate",
        "length_drop_points",
    ),
    "divergence": ("kld_mean_nats", "kld_p99_nats", "top1_agreement", "perplexity"),
    "speed": (
        "ttft_p50_s",
        "ttft_p95_s",
        "itl_p50_s",
        "itl_p95_s",
        "e2e_p50_s",
        "prefill_tokens_per_second",
        "decode_tokens_per_second",
        "load_s",
        "cpu_utilization",
    ),
    "memory": ("size_bytes", "peak_rss_bytes", "leak_bytes_per_request", "foundry_leak_bytes_per_request"),
    "deployment": ("foundry_same_answer_rate",),
}


def comparison_table(record: RunRecord, style: str = "simple") -> str:
    """Metrics down, the source model and the variants across; `style` is one of tabulate's."""
    names = list(record.variants)
    rows: list[Sequence[str]] = []
    for metrics in ROWS.values():
        for metric in metrics:
            values = [record.source.get(metric), *(record.variants[name].metrics.get(metric) for name in names)]
            if any(value is not None for value in values):
                rows.append([metric, *(format_metric(metric, value) for value in values)])
    rows.append(["verdict", "", *(record.variants[name].verdict.upper() for name in names)])
    align = ("left", *("right" for _ in range(len(names) + 1)))
    return tabulate(rows, headers=["", "source", *names], tablefmt=style, colalign=align, disable_numparse=True)


def latency_table(record: RunRecord, style: str = "simple") -> str:
    """TTFT and rates by prompt length, one row per variant and length."""
    columns = ("ttft_p50_s", "ttft_p95_s", "itl_p50_s", "prefill_tokens_per_second", "decode_tokens_per_second")
    rows = [
        [name, length, *(format_metric(column, values.get(column)) for column in columns)]
        for name, variant in record.variants.items()
        for length, values in sorted(variant.latency_by_prompt_tokens.items())
    ]
    return tabulate(rows, headers=["variant", "prompt tokens", *columns], tablefmt=style, disable_numparse=True)


def recommendation(record: RunRecord) -> str:
    """One sentence: which variant to ship, and why."""
    if record.recommended is None:
        return "recommended: none, as no variant passed every check"
    size = format_metric("size_bytes", record.variants[record.recommended].metrics.get("size_bytes"))
    return f"recommended: {record.recommended}, the smallest variant that passes ({size})"


def findings(record: RunRecord) -> list[str]:
    """One line per broken limit and per problem."""
    return [line for name, variant in record.variants.items() for line in _findings(name, variant)]


def _findings(name: str, variant: VariantRecord) -> list[str]:
    lines = []
    for check in variant.checks:
        if check.outcome != "pass":
            sign, edge = (">=", check.limit.min) if check.limit.min is not None else ("<=", check.limit.max)
            value, bound = format_metric(check.metric, check.value), format_metric(check.metric, edge)
            lines.append(f"{name}: {check.metric} = {value} (limit {sign} {bound}): {check.outcome}")
    lines += [f"{name}: {_stopped(problem)}: {problem.message.splitlines()[0]}" for problem in variant.problems]
    return lines


def _stopped(problem: ProblemRecord) -> str:
    others = len(problem.tests) - 1
    return f"{problem.tests[0]} and {others} more" if others else problem.tests[0]


def comparison_markdown(record: RunRecord) -> str:
    """`comparison.md`."""
    model, domain = record.model.get("spec", "?"), record.domain.get("name", "?")
    parts = [
        f"# {record.run_id}",
        f"Model `{_cell(model)}`, domain `{_cell(domain)}`.",
        f"**{recommendation(record)}**",
        comparison_table(record, "github"),
    ]
    if any(variant.latency_by_prompt_tokens for variant in record.variants.values()):
        parts += ["## Latency by prompt length", latency_table(record, "github")]
    broken = findings(record)
    if broken:
        parts += ["## What failed", "\n".join(f"* {_cell(line)}" for line in broken)]
    return "\n\n".join(parts) + "\n"


def _cell(text: object) -> str:
    """Text that Markdown and HTML show as it is: model output is hostile."""
    escaped = str(text).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("`", "'")
    return " ".join(escaped.split())
