"""A variant is measured beside its fp32 reference export; what was converted elsewhere may lack one."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from harness.errors import ArtifactError, ConversionError, FidelityError, SessionError
from harness.verify import measure as module
from harness.verify.criteria import findings_of
from harness.verify.measure import measure_graph
from tests.verify.values import ALIKE, EXACT, EXPORT, INT4, artifact


@pytest.fixture
def measure(monkeypatch, bare_workspace):
    """`measure_graph` without models: `found` has the fidelity of each artifact by name, or its error."""

    def run(made, reference_export, comparison=ALIKE, **found):
        def fidelity_of(one, _reference_logits, _workspace):
            return raised(found[one.variant])

        monkeypatch.setattr(module, "measure_fidelity", fidelity_of)
        monkeypatch.setattr(module, "measure_probes", lambda *_: None)
        monkeypatch.setattr(module, "compare_weights", lambda *_, **__: raised(comparison))
        reference_logits = SimpleNamespace(source=SimpleNamespace(path="source"), ensure=lambda: None)
        return measure_graph(made, reference_export, reference_logits, bare_workspace)

    return run


def raised(value):
    if isinstance(value, Exception):
        raise value
    return value


def export_made():
    return artifact(32, "export", EXPORT.path)


def test_a_variant_is_measured_beside_its_reference_export(measure):
    found = measure(artifact(), export_made(), int4=INT4, export=EXACT)
    assert (found.found, found.reference_export, found.no_reference_export) == (INT4, EXPORT, None)


def test_a_missing_reference_export_is_an_error_for_what_was_converted_here_only(measure):
    failed = ConversionError("Olive wrote no model")
    with pytest.raises(ConversionError, match="Olive wrote no model"):
        measure(artifact(), failed, int4=INT4)
    found = measure(artifact(is_adopted=True), failed, int4=INT4)
    assert findings_of(found) == []
    assert found.as_dict()["reference_export"] is None
    assert found.as_dict()["no_reference_export"] == "Olive wrote no model"


def test_a_wrong_reference_export_says_nothing_against_what_was_converted_elsewhere(measure):
    wrong, odd = replace(EXACT, long_kld_nats=0.5), replace(ALIKE, rotary_difference=0.9)
    found = measure(artifact(is_adopted=True), export_made(), odd, int4=INT4, export=wrong)
    assert findings_of(found) == []
    assert "positions are encoded otherwise" in found.no_reference_export
    found = measure(artifact(), export_made(), int4=INT4, export=wrong)
    assert "positions are encoded otherwise" in findings_of(found)[0].what


@pytest.mark.parametrize("is_adopted", [True, False])
def test_a_graph_that_cannot_be_compared_is_not_taken_for_a_missing_reference_export(measure, is_adopted):
    unreadable = ArtifactError("genai_config.json cannot be read")
    with pytest.raises(ArtifactError, match="cannot be read"):
        measure(artifact(is_adopted=is_adopted), export_made(), unreadable, int4=INT4, export=EXACT)


def test_other_weights_are_the_reason_why_a_graph_does_not_load(measure):
    failed, odd = SessionError("cannot load"), replace(ALIKE, differences=("x is missing",))
    with pytest.raises(FidelityError, match="x is missing"):
        measure(artifact(), export_made(), odd, int4=failed, export=EXACT)
    with pytest.raises(SessionError, match="cannot load"):
        measure(artifact(), export_made(), int4=failed, export=EXACT)
