"""Which answers were right and which wrong: by prompt length, and wrong ones in full; for terminals and Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tabulate import tabulate

from harness.measure.wrong_answers import WrongAnswer, WrongAnswers
from harness.report.cells import cell, format_metric
from harness.report.record import RunRecord
from harness.stats.estimate import Estimate


def length_table(record: RunRecord, style: str = "simple") -> str:
    """Right answers of the source model and of every variant, one row per prompt length; empty where none was asked."""
    columns: dict[str, Mapping[int, Estimate]] = {}
    for name, variant in record.variants.items():
        if variant.details.source_exact_match_by_padding_tokens and "source" not in columns:
            columns = {"source": variant.details.source_exact_match_by_padding_tokens, **columns}
        if variant.details.exact_match_by_padding_tokens:
            columns[name] = variant.details.exact_match_by_padding_tokens
    steps = sorted({tokens for found in columns.values() for tokens in found})
    rows = [[f"{tokens:,}", *(_rate(found.get(tokens)) for found in columns.values())] for tokens in steps]
    headers = ["tokens before the question", *columns]
    align = ("right",) * len(headers)
    return tabulate(rows, headers=headers, tablefmt=style, colalign=align, disable_numparse=True) if rows else ""


def _rate(found: Estimate | None) -> str:
    if found is None or found.value is None:
        return "-"
    return f"{format_metric('exact_match_rate', found.value)}{'' if found.n is None else f' of {found.n}'}"


def wrong_tables(record: RunRecord, style: str = "simple") -> Iterator[tuple[str, str]]:
    """Some wrong answers of each variant that has any, whether its checks passed or not; each with a title."""
    for name, variant in record.variants.items():
        found = variant.details.wrong_answers
        if found is not None and found.shown:
            yield _title(name, found), _wrong_table(found, style)


def _title(name: str, found: WrongAnswers) -> str:
    some = f", {len(found.shown)} of them" if len(found.shown) < found.wrong else ""
    return f"wrong answers of {name}: {found.wrong} of {found.answers}{some}"


def _wrong_table(found: WrongAnswers, style: str) -> str:
    headers = ["case", "kind", "asked", "expected", "said", "source model"]
    rows = [
        [*map(cell, (one.case_id, one.kind, one.asked, one.expected, one.said)), _source_word(one)]
        for one in found.shown
    ]
    return tabulate(rows, headers=headers, tablefmt=style, disable_numparse=True)


def _source_word(one: WrongAnswer) -> str:
    if one.is_source_wrong is None:
        return "-"
    return "wrong too" if one.is_source_wrong else "right"
