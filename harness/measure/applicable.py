"""What a domain pack does not ask of a model, so that it can be neither measured nor demanded."""

from __future__ import annotations

from harness.grading.grade import Grader
from harness.metrics.catalogue import METRICS
from harness.pack.choose import length_cases
from harness.pack.schema import OUT_OF_SCOPE, DomainPack

NO_CONTRACT = "the pack has no response schema and no other form for its answers"


_OF_ALL = ("json_valid_rate", "truncated_answer_rate", "repeating_answer_rate", "text_around_rate", "thinking_rate")
"""Metrics that count out-of-scope cases too."""


def not_asked(pack: DomainPack) -> dict[str, str]:
    """Metrics that do not apply to a pack, each with the reason."""
    in_scope = [case for case in pack.cases if case.kind != OUT_OF_SCOPE]
    splits = {case.split for case in in_scope}
    has_contract = Grader.of(pack).has_contract
    settings = pack.answer_settings
    absent = {
        "exact_match_dev_rate": ("dev" in splits, "the pack has no in-scope case in the split `dev`"),
        "exact_match_final_rate": ("final" in splits, "the pack has no in-scope case in the split `final`"),
        "out_of_scope_rate": (len(in_scope) < len(pack.cases), "the pack has no out-of-scope case"),
        "json_valid_rate": (has_contract, NO_CONTRACT),
        "edge_case_rate": (
            has_contract or any(case.expect == "error" for case in pack.edge_cases),
            f"{NO_CONTRACT}, and no edge case that must be refused",
        ),
        "text_around_rate": (
            settings.code_fence or settings.take is not None or bool(settings.thinking_markers),
            "[answer] allows nothing around an answer",
        ),
        "thinking_rate": (bool(settings.thinking_markers), "[answer] allows no thinking part"),
        "length_drop_points": (bool(length_cases(pack)), "the pack has no in-scope case of a single question"),
    }
    return {metric: why for metric, (is_asked, why) in absent.items() if not is_asked}


def kinds_of(metric: str, pack: DomainPack) -> list[str]:
    """The kinds of cases that a metric counts, in the order of the pack; none where it is not measured by kind."""
    if not METRICS[metric].is_by_kind:
        return []
    split = {"exact_match_dev_rate": "dev", "exact_match_final_rate": "final"}.get(metric)
    is_of_all = metric in _OF_ALL
    counted = [one for one in pack.cases if split in (None, one.split) and (is_of_all or one.kind != OUT_OF_SCOPE)]
    return list(dict.fromkeys(case.kind for case in counted))
