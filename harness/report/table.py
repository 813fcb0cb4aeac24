"""The precision comparison as a table, for terminals and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tabulate import tabulate

from harness.checks.check import Outcome
from harness.metrics.catalogue import METRICS, Group, Metric
from harness.metrics.units import Unit, format_value
from harness.report.record import ProblemRecord, RunRecord, VariantRecord
from harness.stats.estimate import Estimate


def rows() -> list[Metric]:
    """The catalogue's numbers in the order of their groups; yes/no criteria are counted in one row below them."""
    numbers = [metric for metric in METRICS.values() if not metric.is_criterion]
    return sorted(numbers, key=lambda metric: list(Group).index(metric.group))


def comparison_table(record: RunRecord, style: str = "simple") -> str:
    """Metrics down, the source model and the variants across; `style` is one of tabulate's."""
    names = list(record.variants)
    table: list[Sequence[str]] = []
    for metric in rows():
        found = [record.source.get(metric.name), *(record.variants[name].metrics.get(metric.name) for name in names)]
        values = [estimate.value if estimate else None for estimate in found]
        if any(value is not None for value in values):
            table.append([metric.name, *(metric.format(value) for value in values)])
    table.append(["yes/no criteria met", "", *(_criteria(record.variants[name]) for name in names)])
    table.append(["verdict", "", *(record.variants[name].verdict.upper() for name in names)])
    align = ("left", *("right" for _ in range(len(names) + 1)))
    return tabulate(table, headers=["", "source", *names], tablefmt=style, colalign=align, disable_numparse=True)


def _criteria(variant: VariantRecord) -> str:
    judged = [check for check in variant.checks if METRICS[check.metric].is_criterion]
    met = sum(check.outcome is Outcome.PASS for check in judged)
    return f"{met} of {len(judged)}" if judged else "-"


def latency_table(record: RunRecord, style: str = "simple") -> str:
    """TTFT and rates by prompt length, one row per variant and length."""
    columns = ("ttft_p50_s", "ttft_p95_s", "itl_p50_s", "prefill_tokens_per_second", "decode_tokens_per_second")
    rows = [
        [name, length, *(METRICS[column].format(_value(found, column)) for column in columns)]
        for name, variant in record.variants.items()
        for length, found in sorted(variant.latency_by_prompt_tokens.items())
    ]
    return tabulate(rows, headers=["variant", "prompt tokens", *columns], tablefmt=style, disable_numparse=True)


def load_table(record: RunRecord, style: str = "simple") -> str:
    """The web service under load, one row per variant and number of clients."""
    counts = ("clients", "requests", "errors", "same")
    columns = {
        "requests_per_second": Unit.PER_SECOND,
        "tokens_per_second": Unit.PER_SECOND,
        **dict.fromkeys(("ttft_p50_s", "ttft_p95_s", "itl_p50_s", "itl_p95_s"), Unit.SECONDS),
    }
    rows = [
        [
            name,
            *(level[count] for count in counts),
            *(format_value(unit, level[column]) for column, unit in columns.items()),
        ]
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
    if record.part is not None:
        return f"INCOMPLETE: only a part of the gate was asked for ({record.part}), so nothing is recommended"
    if record.recommended is None:
        return "recommended: none, as no variant passed every check"
    size = METRICS["size_bytes"].format(record.variants[record.recommended].value("size_bytes"))
    return f"recommended: {record.recommended}, the smallest variant that passes ({size})"


def findings(record: RunRecord) -> list[str]:
    """One line per check that did not pass, per problem, and per reason why a variant's judgement is incomplete."""
    lines = [f"{_stopped(problem)}: {problem.message.splitlines()[0]}" for problem in record.problems]
    for name, variant in record.variants.items():
        lines += _findings(name, variant, is_whole=record.part is None)
    return lines


def _findings(name: str, variant: VariantRecord, *, is_whole: bool) -> list[str]:
    lines = []
    for record in variant.checks:
        if record.outcome is not Outcome.PASS:
            check = record.as_check(name)
            decide = f"; {check.what_would_decide} would decide" if check.what_would_decide else ""
            lines.append(f"{check.headline}{decide}")
    lines += [f"{name}: {_stopped(problem)}: {problem.message.splitlines()[0]}" for problem in variant.problems]
    lines += [f"{name}: {_stopped(one)} did not run: {one.message.splitlines()[0]}" for one in variant.skipped]
    if is_whole and variant.unjudged and not variant.problems:
        lines.append(f"{name}: never judged: {', '.join(variant.unjudged)}")
    return lines


def _value(found: Mapping[str, Estimate], metric: str) -> float | None:
    return found[metric].value if metric in found else None


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
