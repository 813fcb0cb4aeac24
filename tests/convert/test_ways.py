"""Every way to an ONNX model that docs/conversion.md lists, run as it stands there."""

import json
import os
import subprocess
from typing import Any

import pytest

from harness.artifact.adopt import adopt
from harness.artifact.artifact import Artifact
from harness.artifact.facts import precision_of
from harness.convert.convert import convert
from harness.errors import ArtifactError, ConversionError
from harness.recipes.recipe import load_recipe
from harness.toolchain.toolchain import quiet_environment
from harness.verify.compare_weights import compare_with_reference_export
from tests.controls.marks import Way, broken, healthy
from tests.convert.tutorial import auto_opt_command, find_models

pytestmark = pytest.mark.toolchain


@pytest.fixture(scope="module")
def auto_opt(toolchain, tiny_source, tmp_path_factory):
    """Runs `olive auto-opt` as the tutorial prints it; returns its exit status and the folder of its model, if any."""

    def run(precision):
        out = tmp_path_factory.mktemp(f"auto-opt-{precision}")
        command = auto_opt_command(toolchain.python, tiny_source.path, out, precision)
        environment = {**os.environ, **quiet_environment(), "HF_HUB_CACHE": str(out / "hub")}
        done = subprocess.run(command, env=environment, cwd=out, capture_output=True, text=True, check=False)
        (out / "log").write_text(done.stdout + done.stderr)
        return done.returncode, (find_models(out) or [None])[0]

    return run


@healthy("what `olive auto-opt` makes, adopted", way=Way.CONVERT)
def test_auto_opt_makes_int4_that_is_adopted(auto_opt, bare_workspace):
    status, folder = auto_opt("int4")
    assert status == 0
    artifact = adopt(folder, load_recipe("int4"), "mine", bare_workspace)
    assert (artifact.facts.block_sizes, artifact.facts.symmetries) == ((32,), (True,))
    with pytest.raises(ArtifactError, match="block_size: asked 128, the graph has 32"):
        adopt(folder, load_recipe("int4", block_size=128), "mine", bare_workspace)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_auto_opt_says_well_done_and_makes_nothing(auto_opt, precision):
    assert auto_opt(precision) == (0, None)


WORKFLOWS = {
    "int4": {"build": {"type": "ModelBuilder", "precision": "int4", "int4_block_size": 64}},
    "int8": {
        "quantize": {"type": "Rtn", "bits": 8, "group_size": 64, "sym": False, "lm_head": True},
        "build": {"type": "ModelBuilder", "precision": "int4"},
    },
    "int8-behind": {
        "build": {"type": "ModelBuilder", "precision": "fp32"},
        "quantize": {"type": "OnnxKQuantQuantization", "bits": 8, "block_size": 32},
    },
    "fp16": {
        "build": {"type": "ModelBuilder", "precision": "fp32"},
        "round": {"type": "OnnxFloatToFloat16", "keep_io_types": False},
    },
    "fp32": {"build": {"type": "ModelBuilder", "precision": "fp32"}},
    "int8-alone": {"build": {"type": "ModelBuilder", "precision": "int8"}},
    "fp16-alone": {"build": {"type": "ModelBuilder", "precision": "fp16"}},
    "renamed": {
        "build": {"type": "ModelBuilder", "precision": "fp32"},
        "quantize": {"type": "OnnxBlockWiseRtnQuantization", "bits": 8},
    },
}


@pytest.fixture(scope="module")
def workflows(tiny_source, shared_workspace, tmp_path_factory):
    """The outcome of every workflow, each as a user's own Olive file."""
    folder = tmp_path_factory.mktemp("workflows")
    recipes = {}
    for name, passes in WORKFLOWS.items():
        file = folder / f"{name}.json"
        file.write_text(json.dumps({"input_model": {"type": "HfModel"}, "passes": passes}))
        recipes[name] = load_recipe(str(file))
    return convert(tiny_source, recipes, shared_workspace)


@healthy("Olive files of one's own", way=Way.CONVERT)
@pytest.mark.parametrize("name", ["int4", "int8", "int8-behind", "fp16", "fp32"])
def test_a_users_workflow_makes_every_precision(workflows, name):
    assert isinstance(workflows[name], Artifact), workflows[name]
    assert workflows[name].recipe.precision == name.removesuffix("-behind")


@broken("Olive files that make nothing usable", way=Way.CONVERT)
@pytest.mark.parametrize(
    ("name", "kind"), [("int8-alone", ConversionError), ("fp16-alone", ConversionError), ("renamed", ArtifactError)]
)
def test_a_workflow_that_makes_nothing_usable_is_refused(workflows, name, kind):
    assert type(workflows[name]) is kind


OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "int4 16": ("int4", {"block_size": 16}),
    "int4 128": ("int4", {"block_size": 128}),
    "int4 asymmetric": ("int4", {"symmetric": False}),
    "int4 level 1": ("int4", {"accuracy_level": 1}),
    "int4 level 0": ("int4", {"accuracy_level": 0}),
    "int4 rtn": ("int4", {"algorithm": "rtn", "block_size": 64}),
    "int4 rtn_last": ("int4", {"algorithm": "rtn_last"}),
    "int4 k_quant": ("int4", {"algorithm": "k_quant"}),
    "int4 k_quant_mixed": ("int4", {"algorithm": "k_quant_mixed"}),
    "int8 32": ("int8", {"block_size": 32}),
    "int8 symmetric": ("int8", {"symmetric": True}),
    "int8 k_quant": ("int8", {"algorithm": "k_quant"}),
    "int8 level 1": ("int8", {"accuracy_level": 1}),
}


@pytest.fixture(scope="module")
def optioned(tiny_source, shared_workspace):
    """The outcome of every option of the built-in recipes, made by one worker."""
    recipes = {name: load_recipe(precision, **options) for name, (precision, options) in OPTIONS.items()}
    recipes["int4 k_quant_last"] = load_recipe("int4", algorithm="k_quant_last")
    recipes["fp32"] = load_recipe("fp32")
    return convert(tiny_source, recipes, shared_workspace)


@healthy("options of quantisation", way=Way.CONVERT)
@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "int4 k_quant"])
def test_every_option_has_the_effect_that_was_asked_for_and_no_other(optioned, tiny_source, name):
    result = optioned[name]
    assert isinstance(result, Artifact), result
    stated = OPTIONS[name][1]
    assert all(getattr(result.recipe, option) == value for option, value in stated.items())
    assert compare_with_reference_export(result, optioned["fp32"]).differences == ()


@broken("two algorithms that are one", way=Way.CONVERT)
def test_an_algorithm_that_makes_the_same_as_another_is_told(optioned):
    """The builder of this toolchain quantises the head to 8 bits in both, whatever their names say."""
    for name in ("int4 k_quant", "int4 k_quant_last"):
        assert "the same model byte for byte; requested were another algorithm" in optioned[name].what


BUILT = {
    "int4": ("int4", {}),
    "int4 asymmetric": ("int4", {"symmetric": False, "block_size": 64}),
    "int8": ("int8", {}),
    "fp32": ("fp32", {}),
}


@pytest.fixture(scope="module")
def built(tiny_source, shared_workspace):
    """The outcome of the builder of the release that serves, run by the toolchain's Python, without Olive."""
    recipes = {name: load_recipe(precision, backend="genai", **options) for name, (precision, options) in BUILT.items()}
    return convert(tiny_source, recipes, shared_workspace)


@healthy("the second back-end", way=Way.CONVERT)
@pytest.mark.slow
@pytest.mark.parametrize("name", BUILT)
def test_the_serving_runtimes_own_builder_is_a_second_way(built, tiny_source, name):
    artifact = built[name]
    assert isinstance(artifact, Artifact), artifact
    assert precision_of(artifact.facts) == BUILT[name][0]
    assert compare_with_reference_export(artifact, built["fp32"]).differences == ()
    assert artifact.peak_rss_bytes is None or artifact.peak_rss_bytes > 100e6
