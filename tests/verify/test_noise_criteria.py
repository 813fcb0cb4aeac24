"""Rounding costs about the same everywhere; what stands out is told, whatever the precision."""

from dataclasses import replace

import pytest

from harness.verify import noise_criteria as module
from harness.verify.criteria import findings_of
from harness.verify.fidelity import GraphFidelity
from harness.verify.noise_criteria import noise_findings, probe_findings
from harness.verify.probes import ProbeComparison, ProbeNoise
from tests.conftest import ROOT
from tests.verify.values import EXPORT, INT4, artifact

BITS = {"fp16": 16, "int8": 8, "int4": 4, "fp32": 32}
HEALTHY = {"fp32": 1e-7, "fp16": 2e-3, "int8": 0.05, "int4": 0.5}
"""As much as random weights have; trained ones have a tenth of it."""


def probe(noise, worst=None, **options):
    values = {"name": "prose", "worst_noise": noise if worst is None else worst, "worst_token": 7,
              "not_finite_token": None, "is_reference_finite": True}  # fmt: skip
    return ProbeNoise(**{**values, "noise": noise, **options})


def told(precision, probes, **options):
    comparison = ProbeComparison(probes=tuple(probes), tokens=511, context_length=512)
    return "; ".join(one.what for one in probe_findings(artifact(BITS[precision]), comparison, **options))


@pytest.mark.parametrize("precision", HEALTHY)
@pytest.mark.parametrize("share", [1.0, 0.1])
def test_what_was_seen_of_healthy_variants_passes(precision, share):
    """Up to 1.9 times the usual noise on a text, up to 9 times at a position (in fp16; 3 times where there is more)."""
    noise = HEALTHY[precision] * share
    times = 9 if precision in ("fp16", "fp32") else 3
    assert told(precision, [*[probe(noise, times * noise)] * 5, probe(1.9 * noise, times * noise)]) == ""


@pytest.mark.parametrize("precision", HEALTHY)
def test_another_sign_is_no_rounding(precision):
    usual = [probe(HEALTHY[precision])] * 5
    assert "off by 2 of their spread on Thai" in told(precision, [*usual, probe(2.0, name="Thai")])
    at_one = told(precision, [*usual, probe(HEALTHY[precision], 2.0, name="Thai", worst_token=1500)])
    assert "off by 2 of their spread behind token 1,500 of Thai" in at_one


@pytest.mark.parametrize(("precision", "noise"), [("fp16", 0.06), ("int8", 0.45), ("int4", 1.1), ("fp32", 2e-3)])
def test_too_much_noise_everywhere_is_told_too(precision, noise):
    assert "more of these" in told(precision, [probe(noise)] * 8)


def test_what_stands_out_is_judged_by_what_is_usual():
    quiet = [probe(0.06)] * 6
    assert told("int4", [*quiet, probe(0.29, name="far")]) == ""
    assert "0.31 of their spread on far (0.06 is usual for it, 0.3 the most)" in told(
        "int4", [*quiet, probe(0.31, name="far")]
    )
    assert told("int4", [*[probe(0.15)] * 6, probe(0.7)]) == ""


def test_a_fault_in_most_of_the_texts_is_not_what_is_usual():
    assert told("int4", [*[probe(0.05)] * 3, *[probe(0.9)] * 5])


@pytest.mark.parametrize("precision", HEALTHY)
def test_logits_that_are_no_numbers_are_told_first(precision):
    broken = probe(None, name="random tokens 1025 to 2031", worst_noise=None, not_finite_token=1501)
    assert "NaN or infinite behind token 1,501 (random tokens 1025 to 2031)" in told(precision, [probe(1e-9), broken])
    assert "NaN or infinite behind token 1,501" in told(precision, [broken])


def test_a_reference_export_that_breaks_down_says_nothing_for_the_variant():
    assert "unquantised as it is" in told("int4", [probe(None, worst_noise=None, is_reference_finite=False)])
    assert "cannot be compared" in told("int4", [probe(None, worst_noise=None)])


def test_weights_that_were_trained_on_may_be_as_far_off_as_int4():
    assert told("int8", [probe(0.6)] * 4)
    assert told("int8", [probe(0.6)] * 4, is_transformed=True) == ""
    assert told("int8", [probe(0.6), probe(0.6), probe(2.0)], is_transformed=True)


@pytest.mark.parametrize(
    ("precision", "short", "long", "is_healthy"),
    [
        ("int4", 0.1, 0.1, True),
        ("int4", 0.5, 0.6, True),
        ("int4", 0.05, 0.31, False),
        ("int4", 2.0, 0.1, False),
        ("int8", 0.05, 0.05, True),
        ("int8", 0.5, 0.5, False),
        ("fp16", 2e-3, 2e-3, True),
        ("fp16", 2e-3, 0.1, False),
        ("fp16", float("nan"), 2e-3, False),
        ("fp16", None, None, False),
    ],
)
def test_without_a_reference_export_the_source_is_compared_with_near_and_far(precision, short, long, is_healthy):
    found = replace(INT4, short_noise=short, long_noise=long)
    made = artifact(BITS[precision], is_adopted=True)
    fidelity = GraphFidelity(artifact=made, found=found, reference_export=None, no_reference_export="none")
    assert (noise_findings(made, found) == []) is is_healthy
    if precision == "int4":
        assert (findings_of(fidelity) == []) is is_healthy


def test_a_variant_is_judged_by_its_probes_where_there_are_any():
    comparison = ProbeComparison(probes=(probe(2.0),), tokens=511, context_length=512)
    fidelity = GraphFidelity(artifact=artifact(), found=INT4, reference_export=EXPORT, probe_comparison=comparison)
    (finding,) = findings_of(fidelity)
    assert "off by 2 of their spread on prose" in finding.what


@pytest.mark.parametrize("precision", HEALTHY)
def test_the_limits_are_those_that_the_docs_show(precision):
    texts, positions = module._OF_TEXTS[precision], module._OF_POSITIONS[precision]
    row = f"| {precision} | {texts.least:g} / {texts.most:g} | {positions.least:g} / {positions.most:g} |"
    assert row in (ROOT / "docs/graphs.md").read_text(encoding="utf-8")
    assert (texts.times, positions.times) == (5, 15)
