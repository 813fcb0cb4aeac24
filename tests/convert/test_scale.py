"""The whole path at a size that hurts: takes some minutes and 6 GiB of memory, so it runs only by `pytest tests -m scale`."""

import os
import subprocess

import pytest

from harness.artifact.artifact import Artifact
from harness.convert.convert import convert
from harness.recipes.recipe import load_recipe
from harness.runtime.genai import GenaiSession
from harness.source.source import resolve_source
from harness.system.paths import REPOSITORY
from harness.system.progress import LineProgress
from harness.system.store import read_verified
from harness.toolchain.toolchain import quiet_environment
from harness.toolchain.workspace import Workspace

pytestmark = [pytest.mark.toolchain, pytest.mark.scale]


@pytest.fixture(scope="module")
def variants(request, toolchain, tmp_path_factory):
    """A model of 494 M random parameters, in three precisions."""
    if "scale" not in request.config.option.markexpr:
        pytest.skip("takes some minutes and 6 GiB; run it by `pytest tests -m scale`")
    folder = tmp_path_factory.mktemp("scale")
    script = REPOSITORY / "benchmarks/make_half_billion.py"
    command = [str(part) for part in (*toolchain.command(script), folder / "model")]
    subprocess.run(command, env={**os.environ, **quiet_environment()}, check=True)
    recipes = {name: load_recipe(name) for name in ("int4", "int8", "fp16")}
    source = resolve_source(str(folder / "model"))
    return convert(
        source, recipes, Workspace(cache=folder / "cache", toolchain=toolchain, progress=LineProgress(print))
    )


@pytest.mark.parametrize("name", ["int4", "int8", "fp16"])
def test_half_a_billion_parameters_are_converted_and_answer(variants, name):
    artifact = variants[name]
    assert isinstance(artifact, Artifact), artifact
    manifest = read_verified(artifact.path.parent)
    assert manifest["conversion_s"] > 0
    assert manifest["peak_rss_bytes"] > artifact.size_bytes
    session = GenaiSession(artifact.path)
    answer = session.answer([{"role": "user", "content": "Error E4?"}], max_new_tokens=4, min_new_tokens=4)
    session.close()
    assert len(answer.token_ids) == 4
