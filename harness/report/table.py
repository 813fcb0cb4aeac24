"""The precision comparison as a table, for terminals and for Markdown."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from tabulate import tabulate

from harness.checks.check import Outcome
from harness.measure.activations import DivergenceParts
from harness.metrics.catalogue import METRICS, Group, Metric
from harness.metrics.units import Unit, format_value
from harness.report.answer_tables import length_table, wrong_tables
from harness.report.cells import cell, format_metric
from harness.report.findings import findings, recommendation
from harness.report.kind_table import kind_table
from harness.report.notes import drafts_table, questions, warnings
from harness.report.performance_tables import load_table, speed_tables
from harness.report.record import RunRecord, VariantRecord
from harness.stats.estimate import Estimate


def rows(limited: Collection[str] = ()) -> list[Metric]:
    """The comparison's numbers in the order of their groups; yes/no criteria are counted in one row below them.

    Further percentiles and their like stand in tables of their own, unless they are `limited`.
    """
    shown = [metric for metric in METRICS.values() if metric.is_compared or metric.name in limited]
    numbers = [metric for metric in shown if not metric.is_criterion]
    return sorted(numbers, key=lambda metric: list(Group).index(metric.group))


def comparison_table(record: RunRecord, style: str = "simple") -> str:
    """Metrics down, the source model and the variants across; `style` is one of tabulate's."""
    columns = _columns(record)
    table: list[Sequence[str]] = []
    for metric in _metrics_of(record, columns):
        values = [_value(found, metric) for found in columns.values()]
        if any(value is not None for value in values):
            table.append([metric, *(format_metric(metric, value) for value in values)])
    variants = record.variants.values()
    table.append(["yes/no criteria met", "", *map(_criteria, variants)])
    table.append(["verdict", "", *(variant.verdict.upper() for variant in variants)])
    align = ("left", *("right" for _ in columns))
    return tabulate(table, headers=["", *columns], tablefmt=style, colalign=align, disable_numparse=True)


def _columns(record: RunRecord) -> dict[str, Mapping[str, Estimate]]:
    """The metrics of the source model and of every variant, by what stands above them."""
    return {"source": record.source, **{name: variant.metrics for name, variant in record.variants.items()}}


def _metrics_of(record: RunRecord, columns: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    """Numbers in the catalogue's order, and behind them those of another version, as they are called there."""
    unknown = [name for found in columns.values() for name in found if name not in METRICS]
    limited = {name for variant in record.variants.values() for name in variant.limits}
    return [metric.name for metric in rows(limited)] + list(dict.fromkeys(unknown))


def _criteria(variant: VariantRecord) -> str:
    judged = [check for check in variant.checks if check.is_criterion]
    met = sum(check.outcome is Outcome.PASS for check in judged)
    return f"{met} of {len(judged)}" if judged else "-"


def interval_table(record: RunRecord, style: str = "simple") -> str:
    """What is known about every number that could have come out otherwise, one row per metric and variant."""
    columns = _columns(record)
    headers = ["", "of", "value", "low", "high", "confidence", "n", "method"]
    rows = [
        [
            metric,
            name,
            *(format_metric(metric, end) for end in (estimate.value, estimate.low, estimate.high)),
            f"{100 * (estimate.confidence or 0):g} %",
            "-" if estimate.n is None else f"{estimate.n:,}",
            estimate.method,
        ]
        for metric in _metrics_of(record, columns)
        for name, found in columns.items()
        if (estimate := found.get(metric)) is not None and estimate.has_interval
    ]
    align = ("left", "left", *("right",) * 5, "left")
    return tabulate(rows, headers=headers, tablefmt=style, colalign=align, disable_numparse=True) if rows else ""


_STEPS: Mapping[str, tuple[str, ...]] = {
    "listed": ("foundry_lists_model",),
    "loaded": ("foundry_loads_model",),
    "prompted alike": ("prompt_tokens_match",),
    "same answers in process": ("foundry_same_answer_rate",),
    "over HTTP": ("foundry_http_same_answer_rate", "foundry_stream_same_answer_rate"),
    "obeys options": ("request_options_obeyed",),
    "refuses bad requests": ("foundry_refusal_rate",),
    "gives memory back": ("foundry_unload_retention_bytes",),
    "same after reload": ("same_answer_after_reload",),
}
"""Steps of a variant's way through Foundry Local, and the metrics whose checks tell whether it took them."""


def deployment_table(record: RunRecord, style: str = "simple") -> str:
    """How far each variant came in Foundry Local, one row per variant; empty where nothing was judged of it."""
    found = {
        name: [_step_word(variant, metrics) for metrics in _STEPS.values()] for name, variant in record.variants.items()
    }
    rows = [[name, *words] for name, words in found.items() if set(words) != {"-"}]
    return tabulate(rows, headers=["variant", *_STEPS], tablefmt=style, disable_numparse=True) if rows else ""


def _step_word(variant: VariantRecord, metrics: Sequence[str]) -> str:
    outcomes = {check.outcome for check in variant.checks if check.metric in metrics}
    if not outcomes:
        return "-"
    if outcomes == {Outcome.PASS}:
        return "yes"
    return "?" if outcomes <= {Outcome.PASS, Outcome.INCONCLUSIVE} else "NO"


def activation_table(record: RunRecord, style: str = "simple") -> str:
    """Per quantised variant: mean divergence, and which part of it rounded weights and rounded activations have."""
    rows = []
    for name, variant in record.variants.items():
        cost = variant.details.activations
        if cost is None:
            continue
        level = ", ".join(map(str, cost.accuracy_levels))
        parts = [cell for one in (cost.answers, cost.texts) for cell in _parts(one)]
        rows.append([name, level, *parts] if not cost.problem else [name, level, cell(cost.problem)])
    return tabulate(rows, headers=_ACTIVATION_HEADERS, tablefmt=style, disable_numparse=True) if rows else ""


_ACTIVATION_HEADERS = (
    "", "accuracy level", "nats on answers", "of weights", "of activations", "nats on texts", "of weights",
    "of activations",
)  # fmt: skip


def _parts(parts: DivergenceParts | None) -> list[str]:
    if parts is None:
        return ["-"] * 3
    return [format_value(Unit.NATS, one.value) for one in (parts.as_shipped, parts.weights_alone, parts.activations)]


def further_tables(record: RunRecord, style: str = "simple") -> Iterator[tuple[str, str]]:
    """The tables beside the comparison, each with its title, as far as the run measured them."""
    variants = record.variants.values()
    deployment = deployment_table(record, style)
    if deployment:
        yield "deployment on Foundry Local", deployment
    kinds = kind_table(record, style)
    if kinds:
        yield "by kind of question", kinds
    lengths = length_table(record, style)
    if lengths:
        yield "right answers by prompt length", lengths
    activations = activation_table(record, style)
    if activations:
        yield "divergence of weights and of activations", activations
    yield from speed_tables(record, style)
    if any(variant.details.load for variant in variants):
        yield "load on the web service", load_table(record, style)


def _value(found: Mapping[str, Estimate], metric: str) -> float | None:
    return found[metric].value if metric in found else None


def comparison_markdown(record: RunRecord) -> str:
    """`comparison.md`."""
    parts = [
        f"# {record.run_id}",
        f"Model `{cell(record.model.spec or '?')}`, domain `{cell(record.domain.name or '?')}`.",
        *(cell(line) for line in warnings(record)),
        *questions(record),
        f"**{cell(recommendation(record))}**",
        comparison_table(record, "github"),
    ]
    for title, table in further_tables(record, "github"):
        parts += [f"## {title[0].upper()}{title[1:]}", table]
    for title, table in wrong_tables(record, "github"):
        parts += [f"## {cell(title[0].upper() + title[1:])}", table]
    intervals = interval_table(record, "github")
    if intervals:
        parts += ["## Intervals", intervals]
    drafts = drafts_table(record, "github")
    if drafts:
        parts += ["## Drafted limits", drafts]
    broken = findings(record)
    if broken:
        parts += ["## What failed", "\n".join(f"* {cell(line)}" for line in broken)]
    return "\n\n".join(parts) + "\n"
