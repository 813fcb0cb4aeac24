"""Faults in real graphs: each is told by its operators and tensors, and what changes logits by its numbers as well.

Numbers are all that is left where another builder called the parts of a graph otherwise.
"""

from dataclasses import replace

import numpy as np
import pytest
from onnx import numpy_helper

from harness.artifact.inspect import inspect_artifact
from harness.artifact.onnx_file import read_tensor
from harness.convert.convert import convert
from harness.errors import GateError
from harness.recipes.recipe import load_recipe
from harness.source.source import resolve_source
from harness.system.hashing import sha256_of
from harness.system.paths import default_cache
from harness.toolchain.workspace import Workspace
from harness.verify.compare_weights import compare_with_reference_export
from harness.verify.criteria import weight_findings
from harness.verify.measure_probes import measure_probes
from harness.verify.noise_criteria import probe_findings
from tests.conftest import ROOT
from tests.controls.marks import Way, broken, healthy
from tests.verify.plant_graph import planted

pytestmark = pytest.mark.toolchain

SOURCE = ROOT / "fixtures/data/demo/model"
VOCABULARY, WIDTH = 1536, 256
LETTERS = range(160, 256)
"""Tokens of the bytes that only other letters than English ones have."""


@pytest.fixture(scope="module")
def demo(toolchain_on_demand, progress):
    """The demo model in every precision, from the same cache as the gate's; never to be written to."""
    workspace = Workspace(cache=default_cache(), toolchain=toolchain_on_demand, progress=progress)
    recipes = {name: load_recipe(name) for name in ("fp32", "fp16", "int8", "int4")}
    found = convert(resolve_source(str(SOURCE)), recipes, workspace)
    for one in found.values():
        if isinstance(one, GateError):
            raise one
    return found


@pytest.fixture(scope="module")
def findings(demo, tmp_path_factory, toolchain_on_demand, progress):
    """Plants a fault in a precision: what its graph tells of it, and what its numbers tell."""
    # Beside the artifacts, as weights are linked.
    cache = tmp_path_factory.mktemp("cache")
    workspace = Workspace(cache=cache, toolchain=toolchain_on_demand, progress=progress)

    def find(precision, plant, folder):
        made = demo[precision]
        planted(made.path, folder, plant)
        facts, digest = inspect_artifact(folder), sha256_of(folder / "model.onnx")
        artifact = replace(made, path=folder, facts=facts, digest=digest)
        comparison = compare_with_reference_export(artifact, demo["fp32"])
        by_graph = weight_findings(artifact, comparison)
        by_numbers = probe_findings(artifact, measure_probes(artifact, demo["fp32"], workspace))
        return tuple("; ".join(one.what for one in found) for found in (by_graph, by_numbers))

    return find


def sign_behind_a_letter(graph):
    graph.times(graph.choose(graph.any_of(LETTERS), -1, 1))


def sign_at_a_letter(graph):
    """At this one position only."""
    is_letter = graph.add("Equal", "input_ids", graph.constant(LETTERS[42], np.int64))
    graph.times(graph.choose(graph.add("Unsqueeze", is_letter, graph.constant([2], np.int64)), -1, 1))


def nan_far_out(graph):
    graph.times(graph.choose(graph.is_long(1500), np.nan, 1))


def half_as_sure_far_out(graph):
    graph.times(graph.choose(graph.is_long(1200), 0.5, 1))


def sign_of_single_steps(graph):
    """Of answers and not of prompts."""
    graph.times(graph.choose(graph.is_single_step(), -1, 1))


def own_matrix(graph):
    """As large as the output head, and without effect."""
    logits = graph.behind_the_logits()
    nothing = graph.constant(np.zeros((VOCABULARY, VOCABULARY)))
    graph.add("Add", logits, graph.add("MatMul", logits, nothing), output="logits")


def own_bias(graph):
    values = 0.3 * np.random.default_rng(0).normal(size=VOCABULARY)
    graph.add("Add", graph.behind_the_logits(), graph.constant(values), output="logits")


def own_choice(graph):
    """An operator on the tokens that chooses between equal things."""
    graph.times(graph.choose(graph.any_of(LETTERS), 1, 1))


def ends_late_answers(graph):
    """The end of the answer becomes likely."""
    favour = np.zeros(VOCABULARY)
    favour[1535] = 30
    chosen = graph.choose(graph.is_long(1024), favour, np.zeros(VOCABULARY))
    graph.add("Add", graph.behind_the_logits(), chosen, output="logits")


def another_rotary_table_far_out(graph):
    for name in ("cos_cache", "sin_cache"):
        tensor = next(one for one in graph.graph.initializer if one.name == name)
        table = np.array(read_tensor(graph.folder, tensor))
        half = len(table) // 2
        table[half:] = table[: len(table) - half]
        tensor.CopyFrom(numpy_helper.from_array(table, name))


FAULTS = {
    "the sign changes behind a letter": (sign_behind_a_letter, "Equal, ", "off by 2 of their"),
    "the sign changes at a letter": (sign_at_a_letter, "Equal, ", "off by 2"),
    "NaN behind 1,500 tokens": (nan_far_out, "Where (", "NaN or infinite behind token 1,4"),
    "half as sure behind 1,200 tokens": (
        half_as_sure_far_out,
        "operators that the source's graph does not have",
        "random tokens 1025 to 2031",
    ),
    "the sign changes in single steps": (
        sign_of_single_steps,
        "operators that the source's graph does not have",
        "off by 2",
    ),
    "another rotary table behind 1,024 tokens": (another_rotary_table_far_out, "rotary tables differ", "tokens 1025"),
    "the end becomes likely": (ends_late_answers, "(1536 float", "tokens 1025 to 2031"),
    "a bias of its own": (own_bias, "(1536 float", "off by"),
    "a matrix of its own": (own_matrix, "(1536 x 1536 float", ""),
    "an operator without effect": (own_choice, "Where (", ""),
}
"""A fault; what its operators and tensors tell; what its numbers tell in half precision."""

HIDDEN = {("int8", "a bias of its own"), ("int4", "a bias of its own"), ("int4", "the end becomes likely")}
"""Faults whose numbers are within what rounding costs elsewhere: only the graph tells them."""


@broken("operators and tensors of real graphs", way=Way.CONVERT)
@pytest.mark.parametrize(
    "precision", [pytest.param("fp16", marks=pytest.mark.slow), pytest.param("int8", marks=pytest.mark.slow), "int4"]
)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_told_twice(findings, tmp_path_factory, precision, fault):
    plant, by_graph, by_numbers = FAULTS[fault]
    graph_told, numbers_told = findings(precision, plant, tmp_path_factory.mktemp("planted") / precision)
    assert by_graph in graph_told
    assert bool(by_graph)
    if by_numbers and (precision, fault) not in HIDDEN:
        assert by_numbers in numbers_told
    else:
        assert numbers_told == ""


@healthy("graphs that are written again", way=Way.CONVERT)
@pytest.mark.parametrize("precision", ["fp16", "int8", "int4"])
def test_a_graph_that_is_written_again_is_healthy(findings, tmp_path, precision):
    assert findings(precision, lambda graph: None, tmp_path / precision) == ("", "")


def with_other_names(graph):
    """As another builder calls the parts of a graph."""
    for node in graph.graph.node:
        node.name = node.name.replace("/model/layers.", "/blocks/")


@healthy("graphs whose parts have other names", way=Way.CONVERT)
@pytest.mark.parametrize("precision", ["fp16", "int8", "int4"])
def test_other_names_are_no_fault_and_hide_none(findings, tmp_path, precision):
    assert findings(precision, with_other_names, tmp_path / "healthy") == ("", "")

    def plant(graph):
        with_other_names(graph)
        sign_behind_a_letter(graph)

    graph_told, numbers_told = findings(precision, plant, tmp_path / "faulty")
    assert graph_told == ""
    assert "off by 2 of their spread" in numbers_told
