"""The console script: the gate from any working directory, and its steps one by one."""

from __future__ import annotations

import argparse
import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tabulate import tabulate

from harness.artifact.facts import ArtifactFacts, precision_of
from harness.artifact.inspect import inspect_artifact
from harness.errors import GateError, as_user_error
from harness.foundry.doctor import examine
from harness.foundry.registration import Finding, examine_folder
from harness.pipeline.conversion import DEFAULT_VARIANTS, Request, run_request
from harness.report.conversion_tables import outcome_table, remarks, settings_table
from harness.report.record import load_record
from harness.report.table import comparison_table, findings, further_tables, recommendation
from harness.system.paths import REPOSITORY, default_cache
from harness.system.progress import LineProgress
from harness.toolchain.toolchain import ensure_toolchain


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0 well, 1 something failed, 2 it could not be tried."""
    _tolerate_narrow_output()
    parser = _parser()
    given, rest = parser.parse_known_args(arguments)
    if rest and given.command not in ("run", "toolchain"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    commands = {
        "run": lambda: _run(rest),
        "convert": lambda: _convert(given),
        "inspect": lambda: _inspect(given),
        "doctor": lambda: _doctor(given),
        "toolchain": lambda: _toolchain(rest),
        "report": lambda: _report(given.run),
    }
    try:
        status = commands[given.command]()
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # who read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("slm-gate: interrupted; what was finished is kept", file=sys.stderr)
        return 130
    except Exception as error:
        if sys.platform == "win32" and isinstance(error, OSError) and error.errno == errno.EINVAL:
            return 1  # a closed pipe again, as Windows says it
        told = as_user_error(error)
        if told is None:
            raise
        print(f"slm-gate: {told}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="slm-gate", description="Decides whether a fine-tuned small language model may ship."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="run the gate; every option of `pytest suites/` is taken", add_help=False)
    command = commands.add_parser("convert", help="convert a model into proved variants, a folder each")
    command.add_argument(
        "model", type=_named, metavar="MODEL", help="folder, hub id, LoRA adapter folder, or ONNX folder (only proved)"
    )
    command.add_argument(
        "--adapter", type=_named, metavar="DIR", help="LoRA adapter (folder or hub id), merged into MODEL first"
    )
    command.add_argument(
        "--base", type=_named, metavar="MODEL", help="what MODEL was tuned from: is each variant the fine-tune?"
    )
    command.add_argument(
        "--source", type=_named, metavar="MODEL", help="what the ONNX folder was converted from, to compare them"
    )
    command.add_argument(
        "--variants",
        metavar="LIST",
        help="comma-separated precisions or Olive JSON files, each with its options: "
        f"int4:block_size=128:symmetric=false (default: {DEFAULT_VARIANTS})",
    )
    command.add_argument("--out", type=_named_path, metavar="DIR", help="folder that gets one folder per variant")
    command.add_argument(
        "--transformed",
        action="store_true",
        help="the ONNX folder's weights were rescaled or trained on while they were quantised (AWQ, QAT): they are not "
        "held against the source's one by one",
    )
    command.add_argument("--no-fidelity", action="store_true", help="do not measure divergence from the source")
    command.add_argument(
        "--toolchain", type=_named_path, metavar="PYTHON", help="an existing interpreter with the packages"
    )
    command = commands.add_parser("inspect", help="show what a converted model's graph really is")
    command.add_argument("folder", type=Path, help="folder of an ONNX model for onnxruntime-genai")
    command.add_argument("--json", action="store_true", help="for machines")
    command = commands.add_parser("doctor", help="is this environment, or a model folder, able to be deployed")
    command.add_argument("folder", nargs="?", type=Path, help="model folder, or a whole model cache, to look at")
    command.add_argument("--cache-root", type=Path, metavar="DIR", help="the folder that Foundry Local searches")
    command.add_argument("--id", metavar="NAME:VERSION", help="what the model is to be registered as")
    command.add_argument("--release", help="foundry-local-sdk that serves it (the installed one)")
    command.add_argument("--toolchain", type=Path, metavar="PYTHON", help="an existing interpreter to look at")
    commands.add_parser(
        "toolchain", help="run a Python script in the conversion environment, made on first need", add_help=False
    )
    command = commands.add_parser("report", help="show the tables of a stored run")
    command.add_argument("run", nargs="?", type=Path, default=REPOSITORY / "results" / "latest", help="run folder")
    return parser


def _tolerate_narrow_output() -> None:
    """Where the terminal's encoding lacks a character of a message, another one is shown instead of a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _named(text: str) -> str:
    """Refuses what an unset shell variable leaves."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty")
    return text


def _named_path(text: str) -> Path:
    return Path(_named(text))


def _tell(line: str) -> None:
    print(f"  … {line}", flush=True)


def _run(options: Sequence[str]) -> int:
    suites = REPOSITORY / "suites"
    if not suites.is_dir():
        raise GateError(
            "the suites are not beside the package",
            where=str(suites),
            next_step="install from a clone of the repository: pip install -e .",
        )
    command = [sys.executable, "-m", "pytest", "-c", str(REPOSITORY / "pyproject.toml"), str(suites), *options]
    return subprocess.run(command, check=False).returncode


def _convert(given: argparse.Namespace) -> int:
    request = Request(
        model=given.model,
        variants=given.variants,
        out=given.out,
        adapter=given.adapter,
        base=given.base,
        source=given.source,
        is_transformed=given.transformed,
        with_fidelity=not given.no_fidelity,
        python=given.toolchain,
    )
    done = run_request(request, cache=default_cache(), progress=LineProgress(_tell))
    print(outcome_table(done.outcomes))
    for line in remarks(done.outcomes, done.source):
        print(line)
    if not request.with_fidelity:
        print("divergence from the source was not measured (--no-fidelity): the graph is unproven in what it computes")
    elif done.source is None:
        print("nothing says what it was converted from: --source MODEL compares settings, token ids and divergence")
    if done.artifacts:
        print("\nWhat is there, and in brackets what was asked or what the source has:\n")
        print(settings_table(done.artifacts, done.source))
    for failure in done.failures:
        print(f"\n{failure}", file=sys.stderr)
    for folder in done.stale:
        print(f"\n{folder} is still what an earlier run delivered", file=sys.stderr)
    if done.lacked_toolchain:
        return 2
    return 1 if done.failures else 0


def _inspect(given: argparse.Namespace) -> int:
    return _show(inspect_artifact(given.folder), as_json=given.json)


def _show(facts: ArtifactFacts, *, as_json: bool) -> int:
    plain = {"precision": precision_of(facts), **facts.as_dict()}
    if as_json:
        print(json.dumps(plain, indent=1))
        return 0
    rows = [[key, _short(value)] for key, value in plain.items()]
    print(tabulate(rows, tablefmt="plain", maxcolwidths=[None, 90], disable_numparse=True))
    return 0


def _short(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"  # tabulate takes the text "False" for something, which is true
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(entry)}" for key, entry in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(_short, value)) or "-"
    return "-" if value is None else str(value)


def _doctor(given: argparse.Namespace) -> int:
    is_well = True
    for finding in _findings(given):
        is_well &= finding.is_well
        print(f"{'ok  ' if finding.is_well else 'MEND'} {finding.what}: {finding.found}", flush=True)
        if not finding.is_well and finding.remedy:
            print(f"       next: {finding.remedy}")
    return 0 if is_well else 1


def _findings(given: argparse.Namespace) -> Iterator[Finding]:
    if given.folder is None:
        return examine(default_cache(), given.toolchain)
    return examine_folder(given.folder, cache_root=given.cache_root, model_id=given.id, release=given.release)


def _toolchain(command: Sequence[str]) -> int:
    toolchain = ensure_toolchain(cache=default_cache(), progress=LineProgress(_tell))
    return subprocess.run([str(toolchain.python), *command], check=False).returncode


def _report(run: Path) -> int:
    if run.is_file():  # where links are refused, `latest` is a file with the run's name
        run = run.with_name(run.read_text(encoding="utf-8").strip())
    record = load_record(run)
    print(f"{record.run_id}: {record.model.get('spec')}, {record.domain.get('name')}\n")
    print(comparison_table(record))
    for title, table in further_tables(record):
        print(f"\n{title}\n\n{table}")
    print("\n".join(["", *findings(record), recommendation(record)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
