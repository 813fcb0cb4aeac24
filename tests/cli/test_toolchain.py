import sys

import pytest

from harness.cli.main import main


@pytest.mark.toolchain
@pytest.mark.parametrize("arguments", [["--help"], ["-x", "--", "a b", ""], []], ids=str)
def test_a_script_gets_its_arguments_as_they_stand_and_its_status_counts(arguments, toolchain, monkeypatch, capfd):
    monkeypatch.setenv("SLM_GATE_TOOLCHAIN", str(toolchain.python))
    script = "import sys; print(sys.argv[1:]); sys.exit(7)"
    assert main(["toolchain", "-c", script, *arguments]) == 7
    assert capfd.readouterr().out.splitlines()[-1] == str(arguments)


def test_a_python_that_is_no_toolchain_is_one_clear_message(monkeypatch, capsys):
    monkeypatch.setenv("SLM_GATE_TOOLCHAIN", sys.executable)
    assert main(["toolchain", "script.py"]) == 2
    assert capsys.readouterr().err.startswith("slm-gate: the toolchain lacks ")
