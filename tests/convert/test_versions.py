"""Neighbours of the pinned onnxruntime-genai, each real: installed over the toolchain, and what Olive does with it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.artifact.artifact import Artifact
from harness.convert.convert import convert
from harness.errors import ToolchainError
from harness.recipes.recipe import load_recipe
from harness.system.progress import LineProgress
from harness.toolchain.toolchain import quiet_environment, venv_python, verify_toolchain
from harness.toolchain.workspace import Workspace
from tests.convert.tutorial import auto_opt_command, find_models

pytestmark = [pytest.mark.toolchain, pytest.mark.slow]

PRECISIONS = ("int4", "int8", "fp16", "fp32")


@pytest.fixture(scope="module")
def with_genai(toolchain, tmp_path_factory):
    """The interpreter of a thin environment: another onnxruntime-genai, and else all that the toolchain has."""

    def make(version):
        folder = tmp_path_factory.mktemp(f"genai-{version}")
        subprocess.run([toolchain.python, "-m", "venv", "--without-pip", folder], check=True)
        python = venv_python(folder)
        own, shared = (site_packages(one) for one in (python, toolchain.python))
        Path(own, "toolchain.pth").write_text(f"{shared}\n")
        wanted = f"onnxruntime-genai=={version}"
        command = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", wanted]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"pip cannot get {wanted} here: {done.stderr.strip().splitlines()[-1]}")
        return python

    return make


def site_packages(python):
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return subprocess.run([python, "-c", query], check=True, capture_output=True, text=True).stdout.strip()


def test_the_older_neighbour_makes_everything_too(with_genai, tiny_source, tmp_path):
    toolchain = verify_toolchain(with_genai("0.13.2"))
    assert toolchain.versions["onnxruntime-genai"] == "0.13.2"
    recipes = {name: load_recipe(name) for name in PRECISIONS}
    results = convert(
        tiny_source, recipes, Workspace(cache=tmp_path / "cache", toolchain=toolchain, progress=LineProgress(print))
    )
    assert [name for name in PRECISIONS if not isinstance(results[name], Artifact)] == [], results


@pytest.mark.parametrize(
    ("version", "refusal", "status", "last_words"),
    [
        ("0.15.2", "swallows every error and writes no model", 0, "hf_details"),
        ("0.16.0", "cannot import", 1, "onnxruntime_genai.models.quantized_model"),
        ("0.18.0", "cannot import", 1, "onnxruntime_genai.models.quantized_model"),
    ],
)
def test_newer_neighbours_are_refused_for_what_they_do(
    with_genai, tiny_source, tmp_path, version, refusal, status, last_words
):
    python = with_genai(version)
    with pytest.raises(ToolchainError, match=refusal):
        verify_toolchain(python)
    environment = {**os.environ, **quiet_environment(), "HF_HUB_CACHE": str(tmp_path / "hub")}
    command = auto_opt_command(python, tiny_source.path, tmp_path / "out", "int4")
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert last_words in done.stdout + done.stderr
    assert find_models(tmp_path) == []
