"""The precision comparison as a table, for terminals and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tabulate import tabulate

from harness.metrics.units import format_metric
from harness.report.record import ProblemRecord, RunRecord, VariantRecord

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
    "deployment": (
        "foundry_same_answer_rate",
        "foundry_http_same_answer_rate",
        "foundry_stream_same_answer_rate",
        "foundry_refusal_rate",
        "foundry_unload_retention_bytes",
        "load_same_answer_rate",
        "load_requests_per_second",
        "load_ttft_p95_s",
        "soak_same_answer_rate",
        "soak_growth_bytes",
    ),
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


def load_table(record: RunRecord, style: str = "simple") -> str:
    """The web service under load, one row per variant and number of clients."""
    counts = ("clients", "requests", "errors", "same")
    columns = ("requests_per_second", "tokens_per_second", "ttft_p50_s", "ttft_p95_s", "itl_p50_s", "itl_p95_s")
    rows = [
        [name, *(level[count] for count in counts), *(format_metric(column, level[column]) for column in columns)]
        for name, variant in record.variants.items()
        for level in variant.details.get("load", [])
    ]
    return tabulate(rows, headers=["variant", *counts, *columns], tablefmt=style, disable_numparse=True)


_STEPS = (
    "registered",
    "listed",
    "loaded",
    "answers_in_process",
    "answers_over_http",
    "same_tokens",
    "unloaded",
    "memory_given_back",
)


def deployment_table(record: RunRecord, style: str = "simple") -> str:
    """How far each variant came in Foundry Local, one row per variant."""
    words = {True: "yes", False: "NO", None: "-"}
    rows = [
        [name, *(words[variant.details["deployment"].get(step)] for step in _STEPS)]
        for name, variant in record.variants.items()
        if "deployment" in variant.details
    ]
    headers = ["variant", *(step.replace("_", " ").replace("http", "HTTP") for step in _STEPS)]
    return tabulate(rows, headers=headers, tablefmt=style, disable_numparse=True)


def further_tables(record: RunRecord, style: str = "simple") -> Iterator[tuple[str, str]]:
    """The tables beside the comparison, each with its title, as far as the run measured them."""
    variants = record.variants.values()
    if any("deployment" in variant.details for variant in variants):
        yield "deployment on Foundry Local", deployment_table(record, style)
    if any(variant.latency_by_prompt_tokens for variant in variants):
        yield "latency by prompt length", latency_table(record, style)
    if any("load" in variant.details for variant in variants):
        yield "load on the web service", load_table(record, style)


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
    for title, table in further_tables(record, "github"):
        parts += [f"## {title[0].upper()}{title[1:]}", table]
    broken = findings(record)
    if broken:
        parts += ["## What failed", "\n".join(f"* {_cell(line)}" for line in broken)]
    return "\n\n".join(parts) + "\n"


def _cell(text: object) -> str:
    """Text that Markdown and HTML show as it is: model output is hostile."""
    escaped = str(text).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("`", "'")
    return " ".join(escaped.split())
