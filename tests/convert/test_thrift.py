"""What the worker saves against plain Olive costs nothing else: the results are the same."""

import json
import os
import subprocess
from pathlib import Path

import onnx
import pytest

from harness.convert.convert import convert
from harness.convert.job import WORKER
from harness.recipes.recipe import load_recipe, olive_run_config
from harness.toolchain.toolchain import quiet_environment
from tests.once import made_once

pytestmark = [pytest.mark.toolchain, pytest.mark.slow]

HERE = Path(__file__).parent
RECIPES = {
    "int4": load_recipe("int4"),
    "int4-asymmetric": load_recipe("int4", symmetric=False, block_size=128),
    "int4-rtn": load_recipe("int4", algorithm="rtn", block_size=64),  # embedding and head share their weights
    "int4-mixed": load_recipe("int4", algorithm="k_quant_mixed"),
    "int8": load_recipe("int8"),
    "fp16": load_recipe("fp16"),
}


def run_script(toolchain, script, *arguments, **options):
    command = [str(part) for part in (*toolchain.command(HERE / script), *arguments)]
    return subprocess.run(command, check=True, text=True, capture_output=True, **options).stdout


@pytest.fixture(scope="module")
def graphs(tiny_source, toolchain, shared_folder, shared_workspace):
    """The gate's graph and plain Olive's, of each recipe."""

    def run_plain_olive(folder):
        folder.mkdir()
        for name, recipe in RECIPES.items():
            resolved, out = recipe.resolved(tiny_source.input_widths), folder / name
            config = olive_run_config(resolved, tiny_source.path, out / "out", out / "cache")
            (folder / f"{name}.json").write_text(json.dumps(config))
        environment = {**os.environ, **quiet_environment(), "HF_HUB_CACHE": str(folder / "hub")}
        configs = [folder / f"{name}.json" for name in RECIPES]
        run_script(toolchain, "run_plain_olive.py", *configs, env=environment)

    plain = made_once(shared_folder / "plain Olive", run_plain_olive)
    ours = convert(tiny_source, RECIPES, shared_workspace)
    return {
        name: (content_of(ours[name].path / "model.onnx"), content_of(plain / name / "out" / "model.onnx"))
        for name in RECIPES
    }


def content_of(file):
    """Nodes, and types, shapes and bytes of stored tensors, by their names: the order of nodes is free."""
    graph = onnx.load(str(file)).graph
    nodes = {node.name: node.SerializeToString(deterministic=True) for node in graph.node}
    return nodes, {tensor.name: (tensor.data_type, *tensor.dims, tensor.raw_data) for tensor in graph.initializer}


@pytest.mark.parametrize("name", RECIPES)
def test_graphs_are_those_of_plain_olive(graphs, name):
    (nodes, tensors), (plain_nodes, plain_tensors) = graphs[name]
    assert nodes == plain_nodes
    assert tensors.keys() == plain_tensors.keys()
    assert [tensor for tensor in tensors if tensors[tensor] != plain_tensors[tensor]] == []


def test_the_source_is_read_once_and_stays_what_it_is(tiny_source, toolchain, tmp_path):
    script = WORKER.with_name("shared_source.py")
    found = json.loads(run_script(toolchain, "use_shared_source.py", tiny_source.path, script, cwd=tmp_path))
    assert (found["reads"], found["reads_after_rebuilding"], found["reads_after_writing"]) == (1, 1, 2)
    one, again, changed = found["hashes"]
    assert one == again != changed
    assert [name for name, value in found.items() if value is False] == []
