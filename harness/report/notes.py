"""What a run tells beside its numbers: of the model, of the questions, and of limits that nobody chose."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from harness.checks.draft import DRAFTED, Unconfirmed, drafted
from harness.config.plan import ALL_CASES
from harness.config.settings import GateConfig
from harness.pack.remarks import INFERRED
from harness.report.cells import bound_text, cell, listed
from harness.report.record import RunRecord


def warnings(record: RunRecord) -> list[str]:
    """One line per remark about the source model, the questions and the limits; they decide nothing."""
    lines = [f"warning: {remark}" for remark in record.model.remarks]
    lines += [f"asked: {record.plan}"] if record.plan not in (None, ALL_CASES) else []
    unchosen = record.config.unchosen if isinstance(record.config, GateConfig) else ()
    lines += [f"warning: {unchosen_remark(unchosen)}"] if unchosen else []
    judged = {name for variant in record.variants.values() for name in variant.limits}
    if isinstance(record.config, GateConfig) and (borrowed := [one for one in record.config.borrowed if one in judged]):
        lines.append(f"warning: {borrowed_remark(record.config, borrowed)}")
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


def borrowed_remark(config: GateConfig, metrics: Sequence[str]) -> str:
    """That limits of gate.toml judge another model than its own, or other questions."""
    replaced = {"model": config.configured_source, "questions": config.configured_pack}
    own = " and ".join(name for name, before in replaced.items() if before is not None)
    return (
        f"judged by limits that were chosen for the {own} of gate.toml, and never for yours: {', '.join(metrics)}: "
        "their numbers and reasons speak of those: write your own gate.toml (slm-gate init)"
    )


def token_remarks(record: RunRecord) -> list[str]:
    """What only the model's own tokenizer showed of the questions, each once."""
    found = (remark for variant in record.variants.values() for remark in variant.details.token_remarks or ())
    return list(dict.fromkeys(found))


def drafts_remark(drafts: Sequence[Unconfirmed]) -> str:
    """That limits were only drafted, and how that ends."""
    metrics = list(dict.fromkeys(one.metric for one in drafts))
    return (
        f"{len(metrics)} of the limits are only drafted, and confirmed by nobody: {listed(metrics)}: put your own "
        "number and reason into gate.toml"
    )


def draft_lines(drafts: Sequence[Unconfirmed]) -> list[str]:
    """One line for each metric of which a limit was only drafted; where variants have different ones, theirs."""
    by_metric: dict[str, list[Unconfirmed]] = {}
    for one in drafts:
        by_metric.setdefault(one.metric, []).append(one)
    return [
        f"{metric} {', '.join(map(_bound, limits))}: "
        + (limits[0].limit.reason if len(limits) == 1 else f"{DRAFTED}: gate.toml has the reason for each")
        for metric, limits in by_metric.items()
    ]


def _bound(draft: Unconfirmed) -> str:
    """`at most 0.35 (int4)`."""
    return bound_text(draft.metric, draft.limit) + (f" ({', '.join(draft.variants)})" if draft.variants else "")


def drafts_table(record: RunRecord, style: str = "simple") -> str:
    """The limits that were only drafted, with the reasons for them; empty where there is none."""
    drafts = drafted({name: variant.limits for name, variant in record.variants.items()})
    rows = [[cell(one.metric), cell(_bound(one)), cell(one.limit.reason)] for one in drafts]
    return tabulate(rows, headers=["limit", "", "reason"], tablefmt=style, disable_numparse=True) if rows else ""


def questions(record: RunRecord) -> list[str]:
    """What was read of a test split, and what was noted about the questions."""
    told = [*record.domain.reading, *(f"note: {one}" for one in record.domain.remarks if INFERRED not in one)]
    return ["\n".join(f"* {cell(line)}" for line in told)] if told else []
