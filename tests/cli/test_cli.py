import errno
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import main as cli
from harness.errors import ConversionError, ToolchainError
from harness.foundry import doctor
from harness.pipeline.conversion import Conversion
from harness.pipeline.outcome import Outcome
from harness.report.record import build_record, save_record
from harness.system.paths import REPOSITORY
from tests.report.test_record import REQUIRED, tell
from tests.toys import write_artifact

DEMO_MODEL = REPOSITORY / "fixtures" / "data" / "demo" / "model"


@pytest.fixture
def run_folder(tmp_path):
    folder = tmp_path / "results" / "some-run"
    tell(folder, "int4", 0.5, 1000)
    tell(folder, "int8", 0.95, 2000)
    save_record(build_record(folder, REQUIRED), folder)
    return folder


def test_a_stored_run_is_shown_again(run_folder, capsys):
    assert cli.main(["report", str(run_folder)]) == 0
    shown = capsys.readouterr().out
    assert "recommended: int8" in shown
    assert "int4: exact_match_rate = 50.0 %" in shown


@pytest.fixture
def refuse(monkeypatch):
    """Has the system refuse to read whatever the command reads."""

    def read(place):
        raise PermissionError(errno.EACCES, "Permission denied", str(place))

    monkeypatch.setattr(cli, "inspect_artifact", read)


def test_what_the_system_refuses_is_one_clear_message(refuse, tmp_path, capsys):
    assert cli.main(["inspect", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"slm-gate: a file cannot be read or written: Permission denied\n  where: {tmp_path}\n")
    assert "who may use it" in told


def test_a_reader_that_has_seen_enough_is_no_error(run_folder):
    command = [sys.executable, "-m", "harness.cli.main", "report", str(run_folder)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        child.stdout.close()
        told = child.stderr.read()
    assert (child.returncode, told) == (1, "")


def test_a_cache_that_cannot_be_written_is_told_before_anything_is_done(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SLM_GATE_CACHE", str(tmp_path / "file"))
    assert cli.main(["convert", str(DEMO_MODEL), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"slm-gate: the cache cannot be written: File exists\n  where: {tmp_path / 'file'}\n")
    assert not (tmp_path / "out").exists()
    findings = {one.what: one for one in doctor.examine(tmp_path / "file")}
    assert not findings["cache"].is_well
    assert "SLM_GATE_CACHE" in findings["cache"].remedy


def test_latest_may_be_a_file_with_the_runs_name(run_folder, capsys):
    latest = run_folder.with_name("latest")
    latest.write_text(run_folder.name)
    assert cli.main(["report", str(latest)]) == 0


def test_a_missing_run_is_one_clear_message(tmp_path, capsys):
    assert cli.main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("slm-gate: no run here\n  where: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "nowhere"], "nowhere"),
        (["convert", "./nowhere", "--out", "out"], "no such folder"),
        (["convert", ".", "--variants", "int5", "--out", "out"], "int5"),
        (["convert", ".", "--variants", ",", "--out", "out"], "names none"),
        (["convert", ".", "--variants", "int4,int4", "--out", "out"], "the same folder"),
        (["convert", "."], "--out is missing"),
        (["convert", "./nowhere", "--source", "."], "no such folder"),
        (["convert", ".", "--variants", "", "--out", "out"], "names none"),
        (["convert", ".", "--variants", "int4:blok_size=8", "--out", "out"], "did you mean 'block_size'"),
        (["convert", ".", "--variants", "int4:block_size=7", "--out", "out"], "block_size = 7 cannot be"),
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
    assert cli.main(arguments) == 2
    assert not list(Path().glob("out/*"))
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("option", ["--out", "--base", "--source", "--adapter", "--toolchain"])
def test_what_an_unset_variable_leaves_is_refused(option, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["convert", "model", option, ""])
    assert caught.value.code == 2
    assert f"{option}: is empty" in capsys.readouterr().err


def test_a_reason_that_stands_in_every_variants_way_is_told_once(monkeypatch, capsys, tmp_path):
    failed = Outcome(result=ToolchainError("no toolchain"))
    outcomes = {"int4": failed, "int8": failed, "fp16": Outcome(result=ConversionError("fp16: no model"))}
    (tmp_path / "int8").mkdir()
    done = Conversion(outcomes=outcomes, source=None, out=tmp_path)
    monkeypatch.setattr(cli, "run_request", lambda request, cache, progress: done)
    assert cli.main(["convert", "model", "--out", "out"]) == 1
    shown = capsys.readouterr()
    assert shown.out.count("FAILED") == 3
    assert "int4, int8: no toolchain" in shown.err
    assert shown.err.endswith(f"{tmp_path / 'int8'} is still what an earlier run delivered\n")
    assert shown.err.count("earlier run") == 1
    assert shown.err.count("fp16: no model") == shown.err.count("fp16") == 1
    del outcomes["fp16"]
    assert cli.main(["convert", "model", "--out", "out"]) == 2


def test_what_is_not_so_is_not_shown_as_so(tmp_path, capsys):
    assert cli.main(["inspect", str(write_artifact(tmp_path / "made", symmetric=False))]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line[:1].strip())
    assert (rows["symmetries"], rows["has_shared_embeddings"]) == ("no", "no")


def test_a_narrow_terminal_gets_other_characters_instead_of_a_traceback(monkeypatch):
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", narrow)
    monkeypatch.setattr(
        cli,
        "run_request",
        lambda *_, progress, **__: progress.line("reading \u2603") or Conversion(outcomes={}, source=None),
    )
    assert cli.main(["convert", ".", "--out", "out"]) == 0
    narrow.flush()
    assert b"reading ?" in narrow.buffer.getvalue()


def test_an_unknown_option_is_refused(capsys):
    with pytest.raises(SystemExit):
        cli.main(["report", "--nonsense"])
    assert "--nonsense" in capsys.readouterr().err


def test_the_doctor_is_content_with_this_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("SLM_GATE_TOOLCHAIN", raising=False)
    findings = {finding.what: finding for finding in doctor.examine(tmp_path)}
    assert findings["Foundry Local runs"].is_well
    assert findings["onnxruntime-genai runs"].is_well
    assert "not made yet" in findings["toolchain"].found


def test_the_doctor_sees_a_rival_package(tmp_path, monkeypatch):
    known = doctor.metadata.version

    def version(name):
        return "0.14.1" if name == "onnxruntime-genai-cuda" else known(name)

    monkeypatch.setattr(doctor.metadata, "version", version)
    (rival,) = (finding for finding in doctor.examine(tmp_path) if finding.what in doctor._RIVALS)
    assert (rival.what, rival.is_well) == ("onnxruntime-genai-cuda", False)
    assert "pip uninstall" in rival.remedy


def test_the_doctor_sees_a_toolchain_that_is_none(tmp_path):
    findings = {f.what: f for f in doctor.examine(tmp_path, tmp_path / "no-python")}
    assert not findings["toolchain"].is_well


@pytest.mark.toolchain
def test_a_converted_model_is_what_inspect_says(demo_artifact, capsys):
    assert cli.main(["inspect", str(demo_artifact), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["precision"] == "int4"
    assert facts["block_sizes"] == [32]


@pytest.mark.toolchain
def test_a_folder_that_is_converted_already_is_only_proved(demo_artifact, capsys):
    assert cli.main(["convert", str(demo_artifact)]) == 0
    shown = capsys.readouterr().out
    assert "nothing says what it was converted from" in shown
    assert "block size       32" in shown
