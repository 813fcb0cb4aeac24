"""A model folder that appears whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from harness.errors import DeployError
from harness.foundry.staging import require_model_files, stage

GRAPHS = {"model": {"decoder": {"filename": "model.onnx"}}}


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    folder = tmp_path / "an artifact"
    (folder / "adapters").mkdir(parents=True)
    (folder / "genai_config.json").write_text(json.dumps(GRAPHS), encoding="utf-8")
    for name in ("model.onnx", "model.onnx.data", "tokenizer.json", "adapters/one.onnx_adapter"):
        (folder / name).write_text(name, encoding="utf-8")
    return folder


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def do_nothing(_folder: Path) -> None:
    pass


def test_every_file_is_there_under_its_name(artifact: Path, tmp_path: Path) -> None:
    stage(artifact, tmp_path / "target", do_nothing)
    assert names(tmp_path / "target") == names(artifact)


def test_what_finish_adds_is_there_with_the_folder_and_not_in_the_artifact(artifact: Path, tmp_path: Path) -> None:
    before = names(artifact)
    stage(artifact, tmp_path / "target", lambda folder: (folder / "added").write_text("x", encoding="utf-8"))
    assert names(tmp_path / "target") == before | {"added"}
    assert names(artifact) == before


def test_files_are_copied_where_they_cannot_be_linked(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    stage(artifact, tmp_path / "target", do_nothing)
    copy = tmp_path / "target" / "model.onnx"
    assert copy.read_text(encoding="utf-8") == "model.onnx"
    assert not copy.samefile(artifact / "model.onnx")


def test_a_symbolic_link_becomes_the_file_it_points_to(artifact: Path, tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    (artifact / "model.onnx.data").rename(blob)
    try:
        (artifact / "model.onnx.data").symlink_to(blob)
    except OSError:
        pytest.skip("this user may not make symbolic links")
    stage(artifact, tmp_path / "target", do_nothing)
    staged = tmp_path / "target" / "model.onnx.data"
    assert not staged.is_symlink()
    assert staged.read_text(encoding="utf-8") == "model.onnx.data"


@pytest.mark.parametrize("failing", ["copy", "finish", "rename"])
def test_after_a_failure_there_is_no_folder(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    if failing == "copy":
        monkeypatch.setattr(os, "link", fail)
        monkeypatch.setattr(shutil, "copyfile", fail)
    if failing == "rename":
        monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(DeployError, match="No space left"):
        stage(artifact, tmp_path / "target", fail if failing == "finish" else do_nothing)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["an artifact"]


def test_the_remains_of_a_killed_attempt_are_replaced(artifact: Path, tmp_path: Path) -> None:
    remains = tmp_path / ".target.incomplete"
    remains.mkdir()
    (remains / "half").write_text("x", encoding="utf-8")
    stage(artifact, tmp_path / "target", do_nothing)
    assert names(tmp_path / "target") == names(artifact)
    assert not remains.exists()


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "genai_config.json"])
def test_a_missing_file_is_named(artifact: Path, name: str) -> None:
    (artifact / name).unlink()
    with pytest.raises(DeployError) as refused:
        require_model_files(artifact)
    assert name in str(refused.value)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"model": {}}', '{"model": 3}'])
def test_a_config_without_a_graph_is_refused(artifact: Path, content: str) -> None:
    (artifact / "genai_config.json").write_text(content, encoding="utf-8")
    with pytest.raises(DeployError):
        require_model_files(artifact)


def test_the_graphs_of_a_pipeline_are_all_looked_for(artifact: Path) -> None:
    stages = {"model": {"decoder": {"pipeline": [{"one": {"filename": "a.onnx"}}, {"two": {"filename": "b.onnx"}}]}}}
    (artifact / "genai_config.json").write_text(json.dumps(stages), encoding="utf-8")
    with pytest.raises(DeployError, match=r"a\.onnx, b\.onnx is missing"):
        require_model_files(artifact)
    for name in ("a.onnx", "b.onnx"):
        (artifact / name).write_text("x", encoding="utf-8")
    require_model_files(artifact)


def test_an_incomplete_folder_is_not_staged(artifact: Path, tmp_path: Path) -> None:
    (artifact / "tokenizer.json").unlink()
    with pytest.raises(DeployError, match=r"tokenizer\.json is missing"):
        stage(artifact, tmp_path / "target", do_nothing)
    assert not (tmp_path / "target").exists()


def test_a_complete_folder_is_accepted(artifact: Path) -> None:
    require_model_files(artifact)
