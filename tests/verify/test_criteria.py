"""A wrong graph is told from quantisation, and a base model from its fine-tune."""

from dataclasses import replace

import pytest

from harness.errors import FidelityError
from harness.verify.criteria import findings_of, fine_tune_findings, function_findings, require_fidelity
from harness.verify.fidelity import GraphFidelity
from tests.verify.values import ALIKE, EXACT, EXPORT, INT4, artifact

NAN = float("nan")


def graph(found=INT4, export=EXPORT, made=None):
    return GraphFidelity(artifact=made or artifact(), found=found, reference_export=export)


def test_quantisation_loss_alone_passes():
    assert findings_of(graph()) == []
    require_fidelity(graph())


def test_the_first_finding_is_raised_with_its_way_out():
    wrong = replace(ALIKE, differences=("a bias is missing",))
    fidelity = graph(replace(INT4, continued_kld_nats=1.0), replace(EXPORT, weight_comparison=wrong))
    assert len(findings_of(fidelity)) == 2
    with pytest.raises(FidelityError, match="its key-value cache is not carried on") as caught:
        require_fidelity(fidelity)
    assert (caught.value.where, bool(caught.value.next_step)) == ("folder", True)


@pytest.mark.parametrize(
    ("first", "short", "long", "told"),
    [
        (1e-12, 1e-12, 1e-3, "positions are encoded otherwise"),
        (1e-12, 0.8, 2.0, "positions are encoded otherwise"),
        (0.5, 0.5, 0.5, "the graph is another one"),
        (1.1e-6, 1.1e-6, 1e-12, "the graph is another one"),
        (NAN, NAN, 1e-12, "nats from the source"),
    ],
)
def test_a_wrong_graph_is_told_although_nothing_is_quantised(first, short, long, told):
    wrong = replace(EXACT, first_kld_nats=first, short_kld_nats=short, long_kld_nats=long)
    (finding,) = findings_of(graph(export=replace(EXPORT, found=wrong)))
    assert told in finding.what
    assert finding.where == "reference export"
    assert told in findings_of(graph(wrong, None, artifact(32)))[0].what


def test_the_limit_itself_passes():
    assert function_findings(replace(EXACT, short_kld_nats=1e-6, long_kld_nats=1e-6), "here") == []


@pytest.mark.parametrize(("continued", "is_healthy"), [(4e-3, True), (5e-3, False), (0.09, False), (NAN, False)])
def test_token_by_token_may_differ_little_whatever_quantisation_costs(continued, is_healthy):
    findings = findings_of(graph(replace(INT4, continued_kld_nats=continued)))
    assert (findings == []) is is_healthy
    assert all("key-value cache is not carried on" in finding.what for finding in findings)


def test_an_unquantised_graph_must_continue_exactly():
    assert function_findings(replace(EXACT, continued_kld_nats=1e-6), "here") == []
    (finding,) = function_findings(replace(EXACT, continued_kld_nats=2e-6), "here")
    assert "token by token is 2.0e-06 nats" in finding.what


@pytest.mark.parametrize(("difference", "is_healthy"), [(None, True), (2e-3, True), (2.1e-3, False), (NAN, False)])
def test_rotary_tables_may_differ_by_half_precision_only(difference, is_healthy):
    export = replace(EXPORT, weight_comparison=replace(ALIKE, rotary_difference=difference))
    findings = findings_of(graph(export=export))
    assert (findings == []) is is_healthy
    assert all("encodes positions otherwise than its source" in finding.what for finding in findings)


@pytest.mark.parametrize(("is_adopted", "way_out"), [(False, "remove this folder"), (True, "transformed = true")])
def test_other_weights_are_told_with_the_way_out(is_adopted, way_out):
    export = replace(EXPORT, weight_comparison=replace(ALIKE, differences=("x is missing", "y is not the source's")))
    (finding,) = findings_of(graph(export=export, made=artifact(is_adopted=is_adopted)))
    assert finding.what == "int4 is not its source rounded: x is missing; y is not the source's"
    assert way_out in finding.next_step


@pytest.mark.parametrize(
    ("own", "from_base", "between", "told"),
    [
        (0.3, 0.1, 0.2, "nearer to the base model"),
        (0.1, 0.1, 0.2, "nearer to the base model"),
        (0.1, 0.3, 0.0, "exactly what its base model says"),
        (0.1, NAN, 0.2, "nearer to the base model"),
    ],
)
def test_a_base_model_is_not_taken_for_its_fine_tune(own, from_base, between, told):
    found = replace(
        EXACT, short_kld_nats=own, long_kld_nats=own, base_kld_nats=from_base, base_from_source_nats=between
    )
    (finding,) = fine_tune_findings(found, artifact())
    assert told in finding.what


def test_a_fine_tune_passes():
    assert fine_tune_findings(replace(INT4, base_kld_nats=0.4, base_from_source_nats=0.3), artifact()) == []
    assert fine_tune_findings(INT4, artifact()) == []  # without a base nothing can be said
