"""What cannot be compared is told with a next step, and ends with 2."""

import json
from dataclasses import replace

import pytest

from harness.cli.compare import converted_folders
from harness.cli.main import main
from harness.system.paths import REPOSITORY, default_cache


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "a model"
    folder.mkdir()
    (folder / "genai_config.json").write_text(json.dumps({"model": {"context_length": 64}}))
    return str(folder)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere", "nowhere"], "no genai_config.json"),
        (["{model}", "{model}", "--set-b", "threads"], "'threads' is not NAME=VALUE"),
        (["{model}", "{model}", "--env-a", "=1"], "'=1' is not NAME=VALUE"),
        (["{model}", "{model}", "--python-a", "p", "--release-a", "0.17.1"], "name two runtimes"),
        (["{model}", "{model}"], "cannot load the model"),
        (["{model}"], "Missing argument 'B'"),
    ],
)
def test_unusable_input(arguments, told, model, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("SLM_GATE_CACHE", str(tmp_path / "cache"))
    assert main(["compare", *(word.format(model=model) for word in arguments)]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.toolchain
@pytest.mark.alone
def test_a_model_beside_itself_says_the_same(demo_artifact, capsys):
    status = main(["compare", str(demo_artifact), str(demo_artifact), "--json", "--seconds", "1", "--tokens", "8"])
    found = json.loads(capsys.readouterr().out)
    assert status == found["status"]
    assert status in (0, 1, 3)  # by the machine's noise
    assert found["answers"] == {"same": 8, "asked": 8, "first_difference": ""}
    assert {check["metric"] for check in found["checks"]} == {"e2e_ratio", "ttft_ratio", "itl_ratio"}


@pytest.mark.toolchain
def test_two_recipes_are_the_folders_of_their_variants(demo_artifacts, shared_workspace):
    model = str(REPOSITORY / "fixtures/data/demo/model")
    workspace = replace(shared_workspace, cache=default_cache())
    found = converted_folders("int8", "int4", model, workspace)
    assert found == [demo_artifacts["int8"].path, demo_artifacts["int4"].path]
    assert converted_folders("int4", "int4", model, workspace) == [demo_artifacts["int4"].path] * 2


@pytest.mark.toolchain
@pytest.mark.process
def test_settings_that_need_processes_are_timed_in_their_own(demo_artifact, monkeypatch, capsys):
    monkeypatch.setattr("harness.regression.separate.LEAST_S", 0.0)
    given = ["--env-b", "OMP_NUM_THREADS=1", "--set-b", "intra_op_num_threads=1"]
    status = main(["compare", str(demo_artifact), str(demo_artifact), *given, "--seconds", "1", "--tokens", "4"])
    shown = capsys.readouterr().out
    assert status in (0, 1, 3)
    assert "fresh processes in turn" in shown
    assert "answers: the same, 8 of 8" in shown
