"""results/README.md tells of everything that a run writes."""

from pathlib import Path
from typing import get_args

import pytest

from harness.checks.verdict import ExitStatus, Verdict
from harness.report.details import VariantDetails
from harness.report.events import DomainFacts, FileFacts, Header, ModelFacts, OfVariant
from harness.report.migrations import SCHEMA_VERSION
from harness.report.record import CheckRecord, ProblemRecord, RunRecord, VariantRecord
from harness.report.samples import KINDS

TEXT = (Path(__file__).resolve().parents[2] / "results/README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "model",
    [RunRecord, VariantRecord, CheckRecord, ProblemRecord, VariantDetails, Header, ModelFacts, DomainFacts, FileFacts],
)
def test_every_field_is_explained(model):
    assert [name for name in model.model_fields if f"`{name}`" not in TEXT] == []


def test_every_kind_of_samples_is_explained():
    names = [kind.name.format("<prompt tokens>", "<generated>", "<batch>", "<depth>") for kind in KINDS]
    assert [name for name in names if f"`{name}`" not in TEXT] == []


def test_every_event_verdict_and_status_is_explained():
    events = [kind.model_fields["event"].default for kind in get_args(OfVariant)]
    assert [word for word in [*events, *Verdict] if f"`{word}`" not in TEXT] == []
    assert [status for status in ExitStatus if f"| {status:d} |" not in TEXT] == []
    assert f"`schema_version` is {SCHEMA_VERSION}" in TEXT
