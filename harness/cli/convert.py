"""`slm-gate convert`: a model into verified variants, a folder each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from harness.checks.verdict import ExitStatus
from harness.cli.command import PATH, TEXT, Example, GateCommand
from harness.cli.terminal import shown_progress
from harness.pipeline.request import DEFAULT_VARIANTS, Conversion, Request, run_request
from harness.report.conversion_tables import outcome_table, remarks, settings_table
from harness.system.paths import default_cache
from harness.toolchain.workspace import Workspace

EXAMPLES: Final = (
    Example(purpose="int4, int8 and fp16, a folder each", arguments="convert ./my-model --out converted"),
    Example(
        purpose="other variants, with options of their own",
        arguments="convert ./my-model --variants int8,int4:block_size=128 --out converted",
    ),
    Example(
        purpose="merge a LoRA adapter first, and verify that every variant is the fine-tune",
        arguments="convert ./base-model --adapter ./my-lora --out converted",
    ),
    Example(
        purpose="verify a folder that was converted elsewhere against its source",
        arguments="convert ./onnx-folder --source ./my-model",
    ),
)
STATUSES: Final = {
    ExitStatus.PASS: "every variant was converted and verified",
    ExitStatus.FAIL: "a variant failed; the others were delivered",
    ExitStatus.UNUSABLE_INPUT: "unusable input, or no toolchain to convert with",
}


@click.command("convert", cls=GateCommand, examples=EXAMPLES, statuses=STATUSES)
@click.argument("model", type=TEXT)
@click.option("--adapter", type=TEXT, metavar="DIR", help="LoRA adapter (folder or hub id), merged into MODEL first")
@click.option("--base", type=TEXT, metavar="MODEL", help="what MODEL was tuned from: is each variant the fine-tune?")
@click.option("--source", type=TEXT, metavar="MODEL", help="what the ONNX folder was converted from, to compare them")
@click.option(
    "--variants",
    metavar="LIST",
    help="comma-separated precisions or Olive JSON files, each with its options: "
    f"int4:block_size=128:symmetric=false (default: {DEFAULT_VARIANTS})",
)
@click.option("--out", type=PATH, metavar="DIR", help="folder that gets one folder per variant")
@click.option(
    "--transformed",
    "is_transformed",
    is_flag=True,
    help="the ONNX folder's weights were rescaled or trained on while they were quantised (AWQ, QAT): they are not "
    "compared with the source's one by one",
)
@click.option("--no-fidelity", is_flag=True, help="do not measure divergence from the source")
@click.option("--toolchain", "python", type=PATH, metavar="PYTHON", help="an existing interpreter with the packages")
def command(no_fidelity: bool, python: Path | None, **asked: str | Path | bool | None) -> int:
    """Convert a model into variants and verify each of them; what fails is not delivered.

    MODEL is a folder, a hub id, a LoRA adapter folder, or an ONNX folder, which is only verified.
    """
    request = Request(has_fidelity=not no_fidelity, **asked)  # type: ignore[arg-type]
    with shown_progress() as progress:
        workspace = Workspace.open(default_cache(), python=python, progress=progress)
        done = run_request(request, workspace)
    _show(request, done)
    if done.lacked_toolchain:
        return ExitStatus.UNUSABLE_INPUT
    return ExitStatus.FAIL if done.failures else ExitStatus.PASS


def _show(request: Request, done: Conversion) -> None:
    print(outcome_table(done.outcomes))
    for line in remarks(done.outcomes, done.source):
        print(line)
    if not request.has_fidelity:
        print("divergence from the source was not measured (--no-fidelity): what the graph computes is not verified")
    elif done.source is None:
        print("nothing says what it was converted from: --source MODEL compares settings, token ids and divergence")
    if done.artifacts:
        print("\nWhat is there, and in brackets what was asked or what the source has:\n")
        print(settings_table(done.artifacts, done.source))
    for failure in done.failures:
        print(f"\n{failure}", file=sys.stderr)
    for folder in done.stale:
        print(f"\n{folder} is still what an earlier run delivered", file=sys.stderr)
