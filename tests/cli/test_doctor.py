import pytest

from harness.cli.main import main
from harness.foundry import doctor


def test_the_doctor_is_content_with_this_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("SLM_GATE_TOOLCHAIN", raising=False)
    diagnostics = {one.subject: one for one in doctor.diagnose_environment(tmp_path)}
    assert diagnostics["Foundry Local runs"].is_ok
    assert diagnostics["onnxruntime-genai runs"].is_ok
    assert "not made yet" in diagnostics["toolchain"].found


def test_the_doctor_sees_a_rival_package(tmp_path, monkeypatch):
    known = doctor.metadata.version

    def version(name):
        return "0.14.1" if name == "onnxruntime-genai-cuda" else known(name)

    monkeypatch.setattr(doctor.metadata, "version", version)
    (rival,) = (one for one in doctor.diagnose_environment(tmp_path) if one.subject in doctor._RIVALS)
    assert (rival.subject, rival.is_ok) == ("onnxruntime-genai-cuda", False)
    assert "pip uninstall" in rival.fix


def test_the_doctor_sees_a_toolchain_that_is_none(tmp_path):
    diagnostics = {one.subject: one for one in doctor.diagnose_environment(tmp_path, tmp_path / "no-python")}
    assert not diagnostics["toolchain"].is_ok


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["--cache-root", "cache"], "--cache-root"),
        (["--id", "model:1"], "--id"),
        (["--release", "2.0.1"], "--release"),
        ([".", "--toolchain", "python"], "--toolchain"),
    ],
)
def test_an_option_that_belongs_to_the_other_use_is_refused(arguments, option, capsys):
    assert main(["doctor", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"slm-gate: {option} would have no effect\n  next:  ")


def test_what_is_to_be_fixed_is_marked_and_makes_the_status_one(tmp_path, capsys):
    assert main(["doctor", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith("FIX genai_config.json: ")
    assert "      next: give the folder that a conversion wrote\n" in shown
