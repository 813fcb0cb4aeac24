from pathlib import Path

import pytest

from harness.cli import convert
from harness.cli.main import main
from harness.errors import ConversionError, ToolchainError
from harness.pipeline.outcome import Outcome
from harness.pipeline.request import Conversion
from harness.system.paths import REPOSITORY
from tests.toys import write_artifact

DEMO_MODEL = REPOSITORY / "fixtures" / "data" / "demo" / "model"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convert", "./nowhere", "--out", "out"], "no such folder"),
        (["convert", ".", "--variants", "int5", "--out", "out"], "int5"),
        (["convert", ".", "--variants", ",", "--out", "out"], "names none"),
        (["convert", ".", "--variants", "int4,int4", "--out", "out"], "the same folder"),
        (["convert", "."], "--out is missing"),
        (["convert", "./nowhere", "--source", "."], "no such folder"),
        (["convert", ".", "--variants", "", "--out", "out"], "names none"),
        (["convert", ".", "--variants", "int4:blok_size=8", "--out", "out"], "did you mean 'block_size'"),
        (["convert", ".", "--variants", "int4:block_size=7", "--out", "out"], "block_size = 7 is invalid"),
        (["convert", ".", "--variants", "fp16:symmetric=true", "--out", "out"], "does not apply to fp16"),
        (["convert", ".", "--out", "file"], "--out is a file"),
        (["convert", ".", "--out", "theirs"], "something that slm-gate did not write"),
        (["convert", ".", "--out", "out"], "no config.json"),
        (["convert", ".", "--source", "other", "--out", "out"], "--source would have no effect"),
        (["convert", ".", "--base", "b", "--no-fidelity", "--out", "out"], "--base would have no effect"),
        (["convert", "made", "--variants", "int4"], "--variants would have no effect"),
        (["convert", "made", "--base", "b"], "--base would have no effect"),
        (["convert", "made", "--transformed"], "--transformed would have no effect"),
        (["convert", "made", "--adapter", "a"], "--adapter would have no effect"),
        (["convert", "made", "--source", "made"], "already converted, not a source model"),
    ],
)
def test_bad_input_is_one_clear_message(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLM_GATE_CACHE", str(tmp_path / "cache"))
    Path("file").write_text("")
    Path("theirs/int4").mkdir(parents=True)
    Path("theirs/int4/precious").write_text("")
    write_artifact(tmp_path / "made")
    assert main(arguments) == 2
    assert not list(Path().glob("out/*"))
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("option", ["--out", "--base", "--source", "--adapter", "--toolchain"])
def test_what_an_unset_variable_leaves_is_refused(option, capsys):
    assert main(["convert", "model", option, ""]) == 2
    assert f"slm-gate convert: {option}: is empty\n" in capsys.readouterr().err


def test_a_reason_that_stands_in_every_variants_way_is_told_once(monkeypatch, capsys, tmp_path):
    failed = Outcome(result=ToolchainError("no toolchain"))
    outcomes = {"int4": failed, "int8": failed, "fp16": Outcome(result=ConversionError("fp16: no model"))}
    (tmp_path / "int8").mkdir()
    done = Conversion(outcomes=outcomes, source=None, out=tmp_path)
    monkeypatch.setattr(convert, "run_request", lambda request, workspace: done)
    assert main(["convert", "model", "--out", "out"]) == 1
    shown = capsys.readouterr()
    assert shown.out.count("FAILED") == 3
    assert "int4, int8: no toolchain" in shown.err
    assert shown.err.endswith(f"{tmp_path / 'int8'} is still what an earlier run delivered\n")
    assert shown.err.count("earlier run") == 1
    assert shown.err.count("fp16: no model") == shown.err.count("fp16") == 1
    del outcomes["fp16"]
    assert main(["convert", "model", "--out", "out"]) == 2


def test_a_cache_that_cannot_be_written_is_told_before_anything_is_done(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SLM_GATE_CACHE", str(tmp_path / "file"))
    assert main(["convert", str(DEMO_MODEL), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"slm-gate: the cache cannot be written: File exists\n  where: {tmp_path / 'file'}\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.toolchain
def test_a_folder_that_is_converted_already_is_only_verified(demo_artifact, capsys):
    assert main(["convert", str(demo_artifact)]) == 0
    shown = capsys.readouterr().out
    assert "nothing says what it was converted from" in shown
    assert "block size       32" in shown
