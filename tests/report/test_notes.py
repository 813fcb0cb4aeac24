"""What is told at the head and at the end of a run beside its numbers."""

from pathlib import Path

from harness.checks.draft import Unconfirmed
from harness.config.limits import Limit
from harness.config.load import load_config
from harness.report.notes import borrowed_remark, draft_lines, drafts_remark
from harness.system.paths import REPOSITORY

DRAFTS = (
    Unconfirmed(metric="answer_kld_mean_nats", limit=Limit(max=0.35, reason="drafted: of int4"), variants=("int4",)),
    Unconfirmed(metric="answer_kld_mean_nats", limit=Limit(max=0.02, reason="drafted: of int8"), variants=("int8",)),
    Unconfirmed(metric="exact_match_rate", limit=Limit(min=0.9, reason="drafted: nine in ten"), variants=()),
)


def test_a_line_has_the_limits_of_every_precision():
    by_precision, common = draft_lines(DRAFTS)
    assert by_precision.startswith("answer_kld_mean_nats at most 0.350 (int4), at most 0.020 (int8): ")
    assert common == "exact_match_rate at least 90.0 %: drafted: nine in ten"


def test_a_metric_counts_once_however_many_limits_it_has():
    assert drafts_remark(DRAFTS).startswith("2 of the limits are only drafted")


def test_what_was_replaced_is_named():
    config = load_config(REPOSITORY / "gate.toml")
    data = Path("/elsewhere/test.jsonl")
    told = {
        "questions": config.with_pack(data),
        "model": config.with_model("/elsewhere"),
        "model and questions": config.with_model("/elsewhere").with_pack(data),
    }
    for what, other in told.items():
        assert f"chosen for the {what} of gate.toml" in borrowed_remark(other, other.borrowed)
        assert "length_drop_points" in borrowed_remark(other, other.borrowed)
