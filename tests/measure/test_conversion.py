"""What is recorded of a conversion, and what of a graph that is not its source's."""

from dataclasses import replace

from harness.artifact.artifact import describe
from harness.artifact.inspect import inspect_artifact
from harness.measure.conversion import measure_conversion, measure_graph_match
from harness.recipes.recipe import load_recipe
from harness.verify.fidelity import GraphFidelity
from tests.verify.values import ALIKE, EXPORT, INT4, artifact


def test_size_and_facts_of_an_artifact_are_recorded(make_artifact):
    folder = make_artifact("artifact", bits=4)
    made = describe(
        folder, "int4", load_recipe("int4"), inspect_artifact(folder), {"conversion_s": 2.5}, was_reused=True
    )
    found = measure_conversion(made)
    assert found.measurement.estimate("size_bytes").value == sum(file.stat().st_size for file in folder.iterdir())
    assert found.measurement.estimate("artifact_matches_request").value == 1.0
    kept = found.details["conversion"]
    assert (kept["conversion_s"], kept["was_reused"], kept["digest"]) == (2.5, True, made.digest)
    assert kept["recipe"]["name"] == "int4"


def graph_match(export):
    return measure_graph_match(GraphFidelity(artifact=artifact(), found=INT4, reference_export=export))


def test_a_graph_that_is_its_source_rounded_is_met():
    found = graph_match(EXPORT)
    assert found.measurement.estimate("graph_matches_source").value == 1.0
    assert found.details["fidelity"]["variant"]["short_kld_nats"] == INT4.short_kld_nats


def test_a_graph_that_is_not_shows_every_finding():
    wrong = replace(ALIKE, differences=("a bias is missing",))
    found = graph_match(replace(EXPORT, weight_comparison=wrong)).measurement
    assert found.estimate("graph_matches_source").value == 0.0
    assert "a bias is missing" in found.details["graph_matches_source"]
