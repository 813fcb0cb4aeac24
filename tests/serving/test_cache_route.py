"""The cache-folder route by the `foundry` command, played by a script; tests/foundry has the route by a release."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from harness.errors import DeployError
from harness.pack.load import load_pack
from harness.runtime.fake import FakeSession
from harness.serving.cache_route import measure_cache_route
from harness.toolchain.workspace import Workspace
from tests.measure.healthy import right

COMMAND = """#!/bin/sh
state={state}
case "$1 $2" in
    "cache location") echo "cache: $(cat $state)" ;;
    "cache cd") echo "$3" > $state ;;
    "cache ls") ls "$(cat $state)" ;;
    "model run") echo '{said}' ;;
esac
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "cache")


def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> Path:
    """Put a `foundry` on PATH that lists what lies in its cache, and says one thing; returns where its cache is told."""
    folder, state = tmp_path / "bin", tmp_path / "state"
    folder.mkdir()
    state.write_text(str(tmp_path))
    script = folder / "foundry"
    script.write_text(COMMAND.format(state=state, said=said))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return state


@pytest.mark.skipif(sys.platform == "win32", reason="the command is played by a shell script")
@pytest.mark.parametrize(("said", "is_met"), [('{"status": "ok", "part": "0"}', 1.0), ("another answer", 0.0)])
def test_the_command_must_list_the_variant_and_answer_as_the_runtime_does(
    said: str, is_met: float, make_artifact, pack_folder: Path, workspace: Workspace, tmp_path: Path, monkeypatch
) -> None:
    state = play(tmp_path, monkeypatch, said)
    found = measure_cache_route(
        "command",
        make_artifact("artifact"),
        FakeSession(right),
        load_pack(pack_folder),
        alias="mine",
        home=tmp_path / "home",
        workspace=workspace,
    )
    assert found.measurement.estimate("cache_route_serves_model").value == is_met
    assert state.read_text().strip() == str(tmp_path)  # the user's own cache folder is set again


def test_a_route_that_nobody_named_is_an_error(pack_folder: Path, workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="no release is named"):
        measure_cache_route(
            None, tmp_path, FakeSession(right), load_pack(pack_folder), alias="x", home=tmp_path, workspace=workspace
        )
