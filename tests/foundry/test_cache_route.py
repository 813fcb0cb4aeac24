"""The cache-folder route on a release that has it, each rule of its scanner planted; and the command line's steps."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from harness.errors import DeployError
from harness.foundry import cache_route
from harness.foundry.cache_route import CacheRouteAnswer, CacheRouteModel, ensure_release, serve_from_cache
from harness.foundry.command import (
    answer_by_command,
    cache_moved_to,
    command_difference,
    foundry_command,
    listed_by_command,
    require_command,
)
from harness.foundry.registration import diagnose_folder
from harness.runtime.genai import GenaiSession
from harness.system.child import run_job
from harness.system.paths import default_cache
from harness.toolchain.workspace import Workspace
from tests.prompts import templates

CONVERSATIONS = [
    [{"role": "user", "content": "What does E4 mean?"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "The washing machine shows F1."}],
    [{"role": "user", "content": "ÄÖÜ ☕ 漢字"}],
]


@pytest.fixture(scope="module")
def old_release(progress) -> Path:
    """An environment with the older release: `$SLM_GATE_SERVING`, or one in the user's cache, made on first need."""
    given = os.environ.get("SLM_GATE_SERVING")
    return Path(given) if given else ensure_release(Workspace.open(default_cache(), progress=progress))


@pytest.mark.toolchain
@pytest.mark.foundry
def test_the_tutorials_route_serves_every_variant_as_the_bare_runtime_does(
    old_release: Path, demo_artifacts, tmp_path: Path
) -> None:
    models = {f"demo-{name}": artifact.path for name, artifact in demo_artifacts.items()}
    found = serve_from_cache(
        models, CONVERSATIONS, python=old_release, home=tmp_path / "home", log=tmp_path / "log", max_new_tokens=48
    )
    for name, model in found.items():
        bare = GenaiSession(models[name])
        expected = [bare.answer(messages, max_new_tokens=48) for messages in CONVERSATIONS]
        bare.close()
        assert [one.prompt_tokens for one in model.answers] == [one.timeline.prompt_tokens for one in expected]
        assert [one.finish_reason for one in model.answers] == [one.finish_reason for one in expected]
        assert model.difference([one.text for one in expected]) is None


def answered(text: str = "ok", problem: str = "") -> CacheRouteAnswer:
    return CacheRouteAnswer(text=text, finish_reason="stop", prompt_tokens=1, problem=problem)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, None),
        ({"is_listed": False}, "m is not listed"),
        ({"is_loaded": False, "problem": "no graph"}, "m was not loaded: no graph"),
        ({"answers": (answered("no"),)}, "'ok' became 'no'"),
        ({"answers": (answered("", "404"),)}, "'ok' became '404'"),
        ({"is_unloaded": False}, "m was not unloaded"),
    ],
)
def test_the_first_thing_that_went_wrong_is_told(change: dict[str, object], told: str | None) -> None:
    well = CacheRouteModel(name="m", is_listed=True, is_loaded=True, is_unloaded=True, answers=(answered(),))
    assert dataclasses.replace(well, **change).difference(["ok"]) == told


FAULTS = {
    "nameless": lambda f: describe(f, {"Version": "1"}),
    "lower-case": lambda f: describe(f, {"name": "lower-case", "Version": "1"}),
    "number": lambda f: describe(f, {"Name": 5, "Version": "1"}),
    "broken": lambda f: (f / "inference_model.json").write_text('{"Name": "broken"'),
    "list": lambda f: (f / "inference_model.json").write_text("[]"),
    "half": lambda f: (f / "download.tmp").write_text(""),
    "no-config": lambda f: (f / "genai_config.json").unlink(),
}


def describe(folder: Path, content: dict[str, object]) -> None:
    (folder / "inference_model.json").write_text(json.dumps(content))


@pytest.mark.toolchain
@pytest.mark.foundry
def test_what_the_scanner_passes_by_is_what_the_doctor_tells(
    old_release: Path, demo_artifact: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    for name, plant in {"healthy": lambda _: None, **FAULTS}.items():
        folder = Path(shutil.copytree(demo_artifact, cache / name))
        describe(folder, {"Name": name, "Version": "1"})
        plant(folder)
    job = {"home": str(tmp_path), "cache": str(cache), "names": [], "conversations": [], "max_new_tokens": 1}
    result = run_job([old_release, cache_route._WORKER], job, log=tmp_path / "log", timeout_s=900)
    assert result["listed"] == ["healthy:0"]
    release = str(result["release"])
    for name in ("healthy", *FAULTS):
        found = diagnose_folder(cache / name, cache_root=cache, release=release)
        assert all(one.is_ok for one in found) is (name == "healthy"), name


@pytest.mark.toolchain
@pytest.mark.foundry
def test_the_gates_own_release_does_not_list_a_cache_folder(demo_artifact: Path, tmp_path: Path) -> None:
    found = serve_from_cache(
        {"demo": demo_artifact}, [], python=Path(sys.executable), home=tmp_path, log=tmp_path / "log", max_new_tokens=1
    )
    assert not found["demo"].is_listed


STAND_IN = """#!/bin/sh
''':'
exec "{python}" "$0" "$@"
'''
import pathlib, sys
state = pathlib.Path({state!r})
match sys.argv[1:]:
    case ["cache", "location"]:
        print("Cache directory path:", state.read_text())
    case ["cache", "cd", folder]:
        state.write_text(folder)
    case ["cache", "ls"]:
        print("Models cached on device:", *(one.name for one in pathlib.Path(state.read_text()).iterdir()))
    case ["model", "run", name, "--prompt", question]:
        print(name, "was asked", question) if question else None
    case _:
        sys.exit("unknown command")
"""


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a script with a shebang")
class TestTheCommandLine:
    @pytest.fixture
    def command(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        (tmp_path / "users-own").mkdir()
        state = tmp_path / "state"
        state.write_text(str(tmp_path / "users-own"))
        file = tmp_path / "foundry"
        file.write_text(STAND_IN.format(python=sys.executable, state=str(state)))
        file.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        found = foundry_command()
        assert found == file
        return file

    @pytest.fixture
    def model_folder(self, tmp_path: Path) -> Path:
        """As little of a model as can be put into a cache."""
        folder = tmp_path / "model"
        folder.mkdir()
        (folder / "genai_config.json").write_text('{"model": {"decoder": {"filename": "model.onnx"}}}')
        for name in ("model.onnx", "tokenizer.json"):
            (folder / name).write_text("{}")
        (folder / "chat_template.jinja").write_text(templates.CHATML)
        return folder

    def test_its_steps_in_order_and_the_users_cache_is_back_afterwards(self, command: Path, tmp_path: Path) -> None:
        (tmp_path / "ours" / "demo-int4").mkdir(parents=True)
        with cache_moved_to(command, tmp_path / "ours"):
            assert "demo-int4" in listed_by_command(command)
            assert answer_by_command(command, "demo-int4", "E4?") == "demo-int4 was asked E4?"
        assert (tmp_path / "state").read_text() == str(tmp_path / "users-own")
        with pytest.raises(KeyError), cache_moved_to(command, tmp_path / "ours"):
            raise KeyError
        assert (tmp_path / "state").read_text() == str(tmp_path / "users-own")

    def test_what_fails_is_an_error_of_ours(self, command: Path, tmp_path: Path) -> None:
        with pytest.raises(DeployError, match="printed nothing"):
            answer_by_command(command, "demo", "")
        (tmp_path / "state").write_text("nowhere")
        with pytest.raises(DeployError, match="names no folder"), cache_moved_to(command, tmp_path):
            pass
        command.write_text("#!/bin/false\n")
        with pytest.raises(DeployError, match="status 1"):
            listed_by_command(command)
        command.unlink()
        with pytest.raises(DeployError, match="did not run"):
            listed_by_command(command)
        assert foundry_command() is None
        with pytest.raises(DeployError, match="no `foundry` command"):
            require_command()

    def test_what_it_lists_and_says_is_held_against_the_bare_runtime(
        self, command: Path, model_folder: Path, tmp_path: Path
    ) -> None:
        def difference(name: str, expected: str) -> str | None:
            return command_difference(command, model_folder, name, "E4?", expected, cache=tmp_path / f"of-{name}")

        assert difference("demo", "demo was asked E4?\n") is None
        assert difference("other", "another answer") == "'another answer' became 'other was asked E4?'"
        command.write_text(command.read_text().replace("iterdir()", "glob('x')"))
        assert difference("unlisted", "") == "`foundry cache ls` does not list unlisted"
        assert (tmp_path / "state").read_text() == str(tmp_path / "users-own")
