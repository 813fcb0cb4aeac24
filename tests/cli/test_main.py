"""The group of commands: help, errors as messages, exit statuses, and nothing heavy before it is needed."""

import errno
import io
import os
import shlex
import subprocess
import sys
import tomllib
from importlib import metadata

import click
import pytest

from harness.cli import inspect
from harness.cli.command import PROGRAM, GateCommand
from harness.cli.main import COMMANDS, EXAMPLES, main, slm_gate
from harness.system.paths import REPOSITORY

HEAVY = ("onnx", "onnxruntime", "onnxruntime_genai", "torch", "foundry_local_sdk", "numpy", "scipy", "rich")


def load(name):
    return slm_gate.get_command(click.Context(slm_gate), name)


def run_python(script, **environment):
    command = [sys.executable, "-c", script]
    return subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(name, capsys):
    command = load(name)
    assert isinstance(command, GateCommand)
    assert command.name == name
    assert command.examples
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"Usage: {PROGRAM} {name} ")
    assert all(f"  {PROGRAM} {example.arguments}\n" in shown for example in command.examples)
    assert shown.isascii()  # a narrow terminal shows it too


@pytest.mark.parametrize(
    "arguments", [example.arguments for name in COMMANDS for example in load(name).examples], ids=str
)
def test_every_example_is_a_command_line_that_is_understood(arguments):
    name, *rest = shlex.split(arguments)
    assert load(name).make_context(name, rest)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_every_example_of_the_group_names_a_command(example):
    assert example.arguments.split()[0] in COMMANDS


def test_the_list_of_commands_is_shown(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.partition("Commands:\n")[2].splitlines()[: len(COMMANDS)]] == list(
        COMMANDS
    )


def test_the_console_script_is_this_one():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    script = metadata.EntryPoint(PROGRAM, project["scripts"][PROGRAM], "console_scripts")
    assert script.load() is main


def test_without_a_command_help_is_shown_and_nothing_was_done(capsys):
    assert main([]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"Usage: {PROGRAM}")


def test_the_version_is_the_packages(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"{PROGRAM} ")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(arguments):
    script = (
        f"import sys; from harness.cli.main import main; status = main({arguments!r}); "
        f"print(*(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr); sys.exit(status)"
    )
    done = run_python(script)
    assert (done.returncode, done.stderr.split()) == (0, [])


def test_the_list_of_commands_imports_no_command():
    script = "import sys; from harness.cli.main import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    imported = set(run_python(script).stderr.split())
    assert not imported & {"pydantic", *(f"harness.cli.{name}" for name in COMMANDS)}


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("slm-gate ", set(COMMANDS)),
        ("slm-gate con", {"convert"}),
        ("slm-gate convert --trans", {"--transformed"}),
        ("slm-gate run --cache", {"--cache-route", "--cache-dir"}),
        ("slm-gate run -k quick --cache-d", {"--cache-dir"}),
    ],
)
def test_a_shell_completes_commands_and_options(words, completed):
    where = len(words.split()) - (not words.endswith(" "))
    asking = {"_SLM_GATE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(where)}
    done = run_python("from harness.cli.main import main; main()", **asking)
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == completed


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["reprt"], "slm-gate: No such command 'reprt'. Did you mean 'report'?\n  next:  slm-gate --help\n"),
        (["report", "--nonsense"], "slm-gate report: No such option '--nonsense'.\n  next:  slm-gate report --help\n"),
        (["convert"], "slm-gate convert: Missing argument 'MODEL'.\n  next:  slm-gate convert --help\n"),
        (["convert", "m", "--out"], "slm-gate convert: Option '--out' requires an argument.\n  next:  slm-gate convert --help\n"),
        (["inspect", ""], "slm-gate inspect: FOLDER: is empty\n  next:  slm-gate inspect --help\n"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_wrong_command_line_is_one_clear_message(arguments, told, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr() == ("", told)


@pytest.fixture
def inspect_raises(monkeypatch):
    """Has `slm-gate inspect` meet an error while it reads."""

    def plant(error):
        def read(_folder):
            raise error

        monkeypatch.setattr(inspect, "inspect_artifact", read)

    return plant


def test_what_the_system_refuses_is_one_clear_message(inspect_raises, tmp_path, capsys):
    inspect_raises(PermissionError(errno.EACCES, "Permission denied", str(tmp_path)))
    assert main(["inspect", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"slm-gate: a file cannot be read or written: Permission denied\n  where: {tmp_path}\n")
    assert "who may use it" in told


def test_a_fault_of_ours_is_not_hidden(inspect_raises, tmp_path):
    inspect_raises(KeyError("ours"))
    with pytest.raises(KeyError, match="ours"):
        main(["inspect", str(tmp_path)])


def test_ctrl_c_is_told_and_has_a_status_of_its_own(inspect_raises, tmp_path, capsys):
    inspect_raises(KeyboardInterrupt())
    assert main(["inspect", str(tmp_path)]) == 130
    assert capsys.readouterr().err.endswith("slm-gate: interrupted; what was finished is kept\n")


def test_a_reader_that_has_seen_enough_is_no_error():
    command = [sys.executable, "-m", "harness.cli.main", "convert", "--help"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        child.stdout.close()
        told = child.stderr.read()
    assert (child.returncode, told) == (1, "")


def test_a_narrow_terminal_gets_other_characters_instead_of_a_traceback(inspect_raises, tmp_path, monkeypatch):
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stderr", narrow)
    inspect_raises(FileNotFoundError(errno.ENOENT, "there is no ☃", "somewhere"))
    assert main(["inspect", str(tmp_path)]) == 2
    narrow.flush()
    assert b"there is no ?" in narrow.buffer.getvalue()
