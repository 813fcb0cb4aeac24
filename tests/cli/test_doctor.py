from importlib import metadata

import pytest

from harness.cli.main import main
from harness.foundry import doctor


@pytest.mark.foundry
def test_the_doctor_is_content_with_this_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("SLM_GATE_TOOLCHAIN", raising=False)
    diagnostics = {one.subject: one for one in doctor.diagnose_environment(tmp_path)}
    assert diagnostics["Foundry Local runs"].is_ok
    assert diagnostics["onnxruntime-genai runs"].is_ok
    assert "not made yet" in diagnostics["toolchain"].found


@pytest.mark.parametrize(
    ("builds", "is_ok", "found"),
    [
        (["onnxruntime-genai", "onnxruntime-genai-cuda"], False, "which has the same import name"),
        (["onnxruntime-genai-cuda"], True, "onnxruntime-genai-cuda 0.18.0 in its place: the gate is verified on CPU"),
        ([], False, "not installed"),
    ],
)
def test_the_doctor_tells_another_build_from_two_of_them(monkeypatch, builds, is_ok, found):
    def version(name):
        if name in builds:
            return "0.18.0"
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(metadata, "packages_distributions", lambda: {"onnxruntime_genai": builds})
    (seen,) = (one for one in doctor._packages() if one.subject == "onnxruntime-genai")
    assert seen.is_ok is is_ok
    assert found in seen.found
    assert is_ok or seen.fix


@pytest.mark.foundry
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


@pytest.mark.foundry
def test_the_doctor_sees_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    diagnostics = {one.subject: one for one in doctor.diagnose_environment(tmp_path / "file")}
    assert not diagnostics["cache"].is_ok
    assert "SLM_GATE_CACHE" in diagnostics["cache"].fix
