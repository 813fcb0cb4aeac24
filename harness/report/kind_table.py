"""Quality by kind of question, for terminals and for Markdown."""

from __future__ import annotations

from tabulate import tabulate

from harness.pack.schema import OUT_OF_SCOPE
from harness.report.cells import bound_text, cell, format_metric
from harness.report.record import RunRecord, VariantRecord
from harness.stats.estimate import Estimate


def kind_table(record: RunRecord, style: str = "simple") -> str:
    """Right answers, and what else has a limit, by kind of question; value, interval and number of each variant.

    Empty where all questions are of one kind and none has a limit of its own.
    """
    found = {name: _by_kind(variant) for name, variant in record.variants.items()}
    rows = list(dict.fromkeys(row for of_variant in found.values() for row in of_variant))
    if len(rows) < 2 and not any(check.kind for one in record.variants.values() for check in one.checks):
        return ""
    cells = [
        [
            cell(kind),
            metric,
            _limit_of_kind(record, metric, kind),
            *(_with_interval(metric, of_variant.get((metric, kind))) for of_variant in found.values()),
        ]
        for metric, kind in rows
    ]
    return tabulate(cells, headers=["kind", "", "limit", *found], tablefmt=style, disable_numparse=True)


def _by_kind(variant: VariantRecord) -> dict[tuple[str, str], Estimate]:
    """(metric, kind) -> estimate."""
    rates = variant.details.exact_match_by_kind or {}
    found = {("out_of_scope_rate" if kind == OUT_OF_SCOPE else "exact_match_rate", kind): rates[kind] for kind in rates}
    return {**found, **{(one.metric, one.kind): one.estimate for one in variant.checks if one.kind is not None}}


def _limit_of_kind(record: RunRecord, metric: str, kind: str) -> str:
    limits = [one.limits[metric] for one in record.variants.values() if metric in one.limits]
    own = {bound_text(metric, limit.of_kind(kind)) for limit in limits if kind in limit.kinds}
    return " or ".join(sorted(own)) or "-"


def _with_interval(metric: str, estimate: Estimate | None) -> str:
    if estimate is None or estimate.value is None:
        return "-"
    ends = [format_metric(metric, end) for end in (estimate.low, estimate.high) if end is not None]
    between = f" ({' to '.join(ends)}, n {estimate.n})" if len(ends) == 2 else ""
    return f"{format_metric(metric, estimate.value)}{between}"
