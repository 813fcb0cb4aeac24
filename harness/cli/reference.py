"""`slm-gate reference`: the source model's answers and logits for a pack, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from harness.checks.verdict import ExitStatus
from harness.cli.command import PATH, TEXT, Example, GateCommand
from harness.cli.terminal import shown_progress
from harness.measure.reference_bundle import make_bundle
from harness.metrics.units import format_bytes
from harness.pack.split import open_domain
from harness.source.obtain import obtain_source
from harness.system.paths import default_cache
from harness.toolchain.workspace import Workspace

EXAMPLES: Final = (
    Example(
        purpose="where the model is", arguments="reference ./my-model --domain my-gate/pack --out my-model.reference"
    ),
    Example(
        purpose="where it is judged, without the model",
        arguments="run --model ./my-model-int4 --domain my-gate/pack --reference my-model.reference",
    ),
)
STATUSES: Final = {
    ExitStatus.PASS: "the file was written",
    ExitStatus.UNUSABLE_INPUT: "the model or the pack cannot be used, or the file cannot be written",
}


@click.command("reference", cls=GateCommand, examples=EXAMPLES, statuses=STATUSES)
@click.argument("model", type=TEXT)
@click.option("--domain", type=PATH, metavar="PACK_DIR", required=True, help="the questions: a pack, or a test split")
@click.option("--out", type=PATH, metavar="FILE", required=True, help="the file to write")
@click.option("--adapter", type=TEXT, metavar="DIR", help="LoRA adapter (folder or hub id), merged into MODEL first")
@click.option("--toolchain", "python", type=PATH, metavar="PYTHON", help="an existing interpreter with the packages")
def command(model: str, domain: Path, out: Path, adapter: str | None, python: Path | None) -> int:
    """Keep what judging variants of MODEL needs of it, so that a device without it can judge them.

    MODEL is a folder or a hub id. The file has its answers and logits on the pack, its tokenizer and chat template, and
    no weights.
    """
    pack = open_domain(domain)
    with shown_progress() as progress:
        workspace = Workspace.open(default_cache(), python=python, progress=progress)
        source = obtain_source(model, workspace, adapter=adapter)
        make_bundle(source, pack, workspace, out)
    print(f"{out}: {format_bytes(out.stat().st_size)}, {len(pack.cases)} cases of {pack.domain.name}")
    print(f"  slm-gate run --model ONNX_FOLDER --domain {domain} --reference {out}")
    return ExitStatus.PASS
