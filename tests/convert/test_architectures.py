"""Every architecture in every precision: converted by the real thing, inspected, loaded, and equal to its source.

The models are tiny, made from config with random weights: they say whether a graph is right, not how well it does.
"""

import json
import re
import shutil
import sys

import pytest

from harness.artifact.artifact import Artifact
from harness.artifact.facts import precision_of
from harness.convert.convert import convert
from harness.errors import ConversionError
from harness.recipes.recipe import load_recipe
from harness.source.reference_logits import ReferenceLogits
from harness.source.source import resolve_source
from harness.verify.criteria import findings_of, function_findings
from harness.verify.measure import measure_graph
from tests.controls.marks import Way, broken, healthy
from tests.once import made_once

pytestmark = pytest.mark.toolchain

WHOLE = (
    "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "granite", "smollm3", "smollm3-nope", "olmo"
)  # fmt: skip
SCALED = (
    "llama-llama3", "llama-linear", "llama-dynamic", "qwen2-yarn", "qwen3-yarn", "gemma3-linear", "phi3-longrope",
    "phi3-longrope-half",
)  # fmt: skip
EVERY = (*WHOLE, *SCALED, "phi", "llama-longrope", "phi3-longrope-128")
REPRESENTATIVES = ("gemma3", "granite", "phi3-longrope")
"""Windows and two rotary tables by layer, multipliers, two rotary tables by length; the others are in the slow tier."""
PRECISIONS = ("fp32", "fp16", "int8", "int4")
MOST_NATS = {"fp16": 1e-3, "int8": 0.05, "int4": 1.0}
"""Far above what is measured (1e-5, 4e-3, 0.3: random weights exaggerate), far below what a wrong graph has."""


def some_are_slow(names, representatives):
    return [name if name in representatives else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.fixture(scope="module")
def folder(make_models, shared_folder):
    """A model of every architecture, all written by one process."""
    return made_once(shared_folder / "architectures", lambda folder: make_models(folder, *EVERY))


@pytest.fixture(scope="module")
def outcome(folder, shared_workspace):
    """Converts an architecture by one worker, and measures each precision against its source."""

    def make(name, precisions=PRECISIONS, backend="olive"):
        source = resolve_source(str(folder / name))
        reference_logits = ReferenceLogits(source, shared_workspace, with_logits=True)
        recipes = {precision: load_recipe(precision, backend=backend) for precision in precisions}
        results = convert(source, recipes, shared_workspace, reference_logits=reference_logits)
        found = {
            precision: measure_graph(one, results["fp32"], reference_logits, shared_workspace)
            for precision, one in results.items()
            if isinstance(one, Artifact)
        }
        sys.stdout.write(row_of(name, found, precisions))
        return results, found

    return make


def row_of(name, found, precisions):
    """A row for a table in docs/conversion.md; `pytest -rP` shows it."""
    cells = (
        f"{found[one].found.short_kld_nats:.0e} / {found[one].found.long_kld_nats:.0e}" if one in found else "no"
        for one in precisions
    )
    return f"| {name} | {' | '.join(cells)} |\n"


def require_healthy(outcome, precisions):
    results, found = outcome
    for precision in precisions:
        artifact = results[precision]
        assert isinstance(artifact, Artifact), artifact
        assert precision_of(artifact.facts) == precision
        assert findings_of(found[precision]) == []
        assert found[precision].found.short_kld_nats < MOST_NATS[precision]
        assert found[precision].found.long_kld_nats < MOST_NATS[precision]


@healthy("architectures with random weights, each in fp16, int8 and int4", way=Way.CONVERT, folders=3)
@pytest.mark.parametrize("name", some_are_slow([*WHOLE, *SCALED], REPRESENTATIVES))
def test_every_precision_is_converted_and_is_the_source(outcome, name):
    """In both regimes of longrope too: its short positions are asked in a short sequence."""
    require_healthy(outcome(name), MOST_NATS)


@healthy("architectures by the serving runtime's own builder", way=Way.CONVERT)
@pytest.mark.parametrize("name", some_are_slow([*WHOLE, "phi"], ["llama"]))
def test_the_serving_runtimes_own_builder_makes_the_source(outcome, name):
    require_healthy(outcome(name, ("fp32", "int4"), backend="genai"), ("int4",))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama-linear", "qwen3-yarn", "gemma3-linear", "phi3-longrope"])
def test_the_serving_runtimes_own_builder_stretches_it_too(outcome, name):
    _, found = outcome(name, ("fp32",), backend="genai")
    assert function_findings(found["fp32"].found, name) == []


@broken("two rotary tables that became one", way=Way.CONVERT)
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["olive", "genai"])
def test_longrope_is_refused_where_the_builder_has_one_table(outcome, backend):
    results, _ = outcome("llama-longrope", ("fp32",), backend)
    assert isinstance(results["fp32"], ConversionError)
    assert "longrope scaling of this architecture is not currently supported" in results["fp32"].what


@broken("a cache of another rotary table", way=Way.CONVERT)
@pytest.mark.slow
def test_longrope_is_refused_where_the_runtime_goes_on_with_the_cache_of_the_other_table(outcome):
    """It makes its cache anew at 4,096 tokens, whatever the model's original context."""
    _, found = outcome("phi3-longrope-128", ("fp32", "int8"))
    assert found["fp32"].found.kld_nats < 1e-6
    for one in found.values():
        assert "its key-value cache is not carried on correctly" in findings_of(one)[0].what


@pytest.mark.slow
def test_phi_has_every_precision_but_int8_for_which_another_way_is_named_and_works(outcome):
    results, found = outcome("phi")
    require_healthy((results, found), ("fp16", "int4"))
    assert isinstance(results["int8"], ConversionError)
    assert "does not know this architecture" in results["int8"].what
    assert 'backend = "genai"' in results["int8"].next_step
    require_healthy(outcome("phi", ("fp32", "int8"), backend="genai"), ("int8",))


@broken("another rope theta", way=Way.CONVERT)
@pytest.mark.slow
def test_a_graph_with_another_rope_theta_is_told_from_quantisation(folder, shared_workspace, tmp_path):
    """What a converter makes that drops a setting: rightly shaped, fluent, and wrong."""
    other = shutil.copytree(folder / "llama", tmp_path / "llama")
    config = json.loads((other / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] = 500.0
    (other / "config.json").write_text(json.dumps(config))
    workspace = shared_workspace
    recipes = {name: load_recipe(name) for name in ("fp32", "int4")}
    wrong = convert(resolve_source(str(other)), recipes, workspace)
    right = convert(resolve_source(str(folder / "llama")), recipes, workspace)
    source = resolve_source(str(folder / "llama"))
    reference_logits = ReferenceLogits(source, workspace, with_logits=True)

    def findings(artifact, export):
        return findings_of(measure_graph(artifact, export, reference_logits, workspace))

    assert findings(right["int4"], right["fp32"]) == []
    told = findings(right["int4"], wrong["fp32"])[0].what
    assert re.match(r"unquantised, the converted graph is .* positions are encoded otherwise", told)
    assert "another rope theta" in findings(wrong["int4"], right["fp32"])[0].what
