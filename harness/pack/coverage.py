"""Which metrics a pack has questions for."""

from __future__ import annotations

from harness.grading.grade import Grader
from harness.pack.schema import OUT_OF_SCOPE, DomainPack


def metrics_without_data(pack: DomainPack) -> dict[str, str]:
    """The metrics that have no data on a pack, with what it lacks."""
    in_scope = [case for case in pack.cases if case.kind != OUT_OF_SCOPE]
    lacking = {
        "exact_match_rate": not in_scope and "no in-scope case",
        "exact_match_loss_points": not in_scope and "no in-scope case",
        "exact_match_dev_rate": not any(case.split == "dev" for case in in_scope) and "no in-scope case of split dev",
        "exact_match_final_rate": not any(case.split == "final" for case in in_scope)
        and "no in-scope case of split final",
        "out_of_scope_rate": len(in_scope) == len(pack.cases) and f"no case of kind {OUT_OF_SCOPE}",
        "json_valid_rate": not Grader.of(pack).has_contract and "no form that answers must have",
        "length_drop_points": not any(case.is_single_turn for case in in_scope) and "no in-scope case of a single turn",
    }
    return {metric: why for metric, why in lacking.items() if why}
