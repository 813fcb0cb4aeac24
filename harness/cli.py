"""The console script: what `pytest suites/` does, from any working directory, and a look at stored runs."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.child import REPOSITORY
from harness.errors import GateError
from harness.model.toolchain import ensure_toolchain
from harness.report.record import load_record
from harness.report.table import comparison_table, findings, latency_table, recommendation
from harness.store import default_cache


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    given, rest = _parser().parse_known_args(arguments)
    try:
        if given.command == "report":
            if rest:
                _parser().error(f"unrecognized arguments: {' '.join(rest)}")
            return _report(given.run)
        return _toolchain(rest) if given.command == "toolchain" else _run(rest)
    except GateError as error:
        print(f"slm-gate: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="slm-gate", description="Decides whether a fine-tuned small language model may ship."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="run the gate; every option of `pytest suites/` is taken", add_help=False)
    commands.add_parser(
        "toolchain", help="run a Python script in the conversion environment, made on first need", add_help=False
    )
    report = commands.add_parser("report", help="show the tables of a stored run")
    report.add_argument("run", nargs="?", type=Path, default=REPOSITORY / "results" / "latest", help="run folder")
    return parser


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


def _toolchain(command: Sequence[str]) -> int:
    toolchain = ensure_toolchain(cache=default_cache(), notify=lambda line: print(f"  … {line}", flush=True))
    return subprocess.run([str(toolchain.python), *command], check=False).returncode


def _report(run: Path) -> int:
    if run.is_file():  # where links are refused, `latest` is a file with the run's name
        run = run.with_name(run.read_text(encoding="utf-8").strip())
    record = load_record(run)
    print(f"{record.run_id}: {record.model.get('spec')}, {record.domain.get('name')}\n")
    print(comparison_table(record))
    if any(variant.latency_by_prompt_tokens for variant in record.variants.values()):
        print(f"\n{latency_table(record)}")
    print("\n".join(["", *findings(record), recommendation(record)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
