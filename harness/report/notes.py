"""What a run tells beside its numbers: of the model, of the questions, and of limits that nobody chose."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tabulate import tabulate

from harness.checks.draft import drafted
from harness.config.settings import GateConfig
from harness.measure.plan import ALL_CASES
from harness.pack.remarks import INFERRED
from harness.report.cells import bound_text, cell, listed
from harness.report.record import RunRecord


def warnings(record: RunRecord) -> list[str]:
    """One line per remark about the source model, the questions and the limits; they decide nothing."""
    lines = [f"warning: {remark}" for remark in record.model.remarks]
    lines += [f"asked: {record.plan}"] if record.plan not in (None, ALL_CASES) else []
    unchosen = record.config.unchosen if isinstance(record.config, GateConfig) else ()
    lines += [f"warning: {unchosen_remark(unchosen)}"] if unchosen else []
    lines += [f"warning: {remark}" for remark in record.domain.remarks if INFERRED in remark]
    lines += [f"warning: {remark}" for remark in token_remarks(record)]
    drafts = drafted({name: variant.limits for name, variant in record.variants.items()})
    return [*lines, *([f"warning: {drafts_remark(drafts)}"] if drafts else [])]


def unchosen_remark(metrics: Sequence[str]) -> str:
    """Why some limits of gate.toml do not judge a model that was put in the place of its own."""
    return (
        f"measured and not judged, as never chosen for this model: {', '.join(metrics)}: name a device (--device "
        "laptop), or write your own gate.toml (slm-gate init)"
    )


def token_remarks(record: RunRecord) -> list[str]:
    """What only the model's own tokenizer showed of the questions, each once."""
    found = (remark for variant in record.variants.values() for remark in variant.details.token_remarks or ())
    return list(dict.fromkeys(found))


def drafts_remark(drafts: Collection[str]) -> str:
    """That limits were only drafted, and how that ends."""
    return (
        f"{len(drafts)} of the limits are only drafted, and confirmed by nobody: {listed(list(drafts))}: put your own "
        "number and reason into gate.toml"
    )


def drafts_table(record: RunRecord, style: str = "simple") -> str:
    """The limits that were only drafted, with the reasons for them; empty where there is none."""
    drafts = drafted({name: variant.limits for name, variant in record.variants.items()})
    rows = [[cell(name), bound_text(name, limit), cell(limit.reason)] for name, limit in drafts.items()]
    return tabulate(rows, headers=["limit", "", "reason"], tablefmt=style, disable_numparse=True) if rows else ""


def questions(record: RunRecord) -> list[str]:
    """What was read of a test split, and what was noted about the questions."""
    told = [*record.domain.reading, *(f"note: {one}" for one in record.domain.remarks if INFERRED not in one)]
    return ["\n".join(f"* {cell(line)}" for line in told)] if told else []
