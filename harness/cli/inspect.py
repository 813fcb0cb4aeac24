"""`slm-gate inspect`: what a converted model's graph really is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import click
from tabulate import tabulate

from harness.artifact.facts import precision_of
from harness.artifact.inspect import inspect_artifact
from harness.cli.command import PATH, Example, GateCommand

EXAMPLES: Final = (
    Example(purpose="precision, block sizes, embeddings, cache, context", arguments="inspect converted/int4"),
    Example(purpose="the same for a script", arguments="inspect converted/int4 --json"),
)


@click.command("inspect", cls=GateCommand, examples=EXAMPLES)
@click.argument("folder", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="for machines")
def command(folder: Path, as_json: bool) -> int:
    """Show what the graph of an ONNX model for onnxruntime-genai really is, whatever its name and its files say.

    FOLDER is the folder of the model.
    """
    facts = inspect_artifact(folder)
    plain = {"precision": precision_of(facts), **facts.as_dict()}
    if as_json:
        print(json.dumps(plain, indent=1))
    else:
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
