"""`slm-gate init`: everything that a first verdict needs, in one folder."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from harness.checks.draft import draft_limits, gate_text
from harness.checks.verdict import ExitStatus
from harness.cli.command import PATH, TEXT, Example, GateCommand
from harness.cli.terminal import shown_progress
from harness.config.load import load_config
from harness.config.profiles import HERE, PROFILES, DeviceProfile, profile_of_this_machine
from harness.config.settings import ModelSettings
from harness.errors import ConfigError
from harness.measure.applicable import not_asked
from harness.pack.load import SCHEMA_FILE
from harness.pack.remarks import INFERRED
from harness.pack.schema import DomainPack
from harness.pack.split import ReadReport, read_test_split
from harness.pack.starter import starter_pack
from harness.pack.write import write_pack
from harness.stats.estimate import Estimate
from harness.system.paths import default_cache

EXAMPLES: Final = (
    Example(purpose="from a test split", arguments="init my-gate --model ./my-model --data test.jsonl"),
    Example(
        purpose="limits from what the source model reaches on it, for an edge box",
        arguments="init my-gate --model ./my-model --data test.jsonl --measure --device edge-4gb",
    ),
    Example(purpose="from nothing: five cases to replace", arguments="init my-gate"),
)
STATUSES: Final = {
    ExitStatus.PASS: "the folder was written",
    ExitStatus.UNUSABLE_INPUT: "the folder has something already, or the data or the model cannot be used",
}
PRECISIONS: Final = ("int4", "int8", "fp16")
_REFUSED: Final = 8
"""Refused rows that are shown; `not_taken.txt` has all."""

_NO_MODEL: Final = "REPLACE ME: folder or hub id of the fine-tuned model"
_WORKFLOW: Final = Path(".github") / "workflows" / "slm-gate.yml"


@click.command("init", cls=GateCommand, examples=EXAMPLES, statuses=STATUSES)
@click.argument("folder", type=PATH)
@click.option("--model", type=TEXT, metavar="DIR_OR_HUB_ID", help="the fine-tuned model")
@click.option("--data", type=PATH, metavar="FILE", help="a test split, read as `slm-gate pack` does")
@click.option(
    "--device",
    type=click.Choice([*PROFILES, HERE]),
    default="laptop",
    help="whose memory, storage and patience the limits are drafted for (default: laptop)",
)
@click.option(
    "--measure", is_flag=True, help="ask the source model first (minutes): limits follow from what it reaches"
)
def command(folder: Path, model: str | None, data: Path | None, device: str, measure: bool) -> int:
    """Write gate.toml, a domain pack and a CI workflow into FOLDER, from which one command leads to a verdict.

    Every limit is a draft with a reason that says where it comes from.
    """
    _require_free(folder)
    if measure and not (model and data):
        raise ConfigError("there is nothing to measure", where="--measure", next_step="give --model and --data too")
    name = _name_of(folder)
    pack, report = read_test_split(data) if data else (starter_pack(folder / "pack", name), None)
    profile = profile_of_this_machine(folder) if device == HERE else PROFILES[device]
    source = _measured(model, pack) if measure and model else None
    limits = draft_limits(profile, PRECISIONS, absent=_absent(pack), source=source)
    text = gate_text(
        model=_from(folder, model) if model else _NO_MODEL,
        pack="pack",
        name=name,
        precisions=PRECISIONS,
        profile=profile,
        limits=limits,
    )
    write_pack(pack, folder / "pack", report.refused if report else ())
    (folder / "gate.toml").write_text(text, encoding="utf-8", newline="\n")
    load_config(folder / "gate.toml")
    workflow = Path(__file__).with_name("workflow.yml").read_text(encoding="utf-8")
    (folder / _WORKFLOW).parent.mkdir(parents=True, exist_ok=True)
    (folder / _WORKFLOW).write_text(workflow, encoding="utf-8", newline="\n")
    _tell(folder, pack, profile, report, model)
    return ExitStatus.PASS


def _require_free(folder: Path) -> None:
    for name in ("gate.toml", "pack", str(_WORKFLOW)):
        if (folder / name).exists():
            raise ConfigError(
                "is there already", where=str(folder / name), next_step="give another folder, or remove it yourself"
            )


def _name_of(folder: Path) -> str:
    return re.sub(r"[^a-z0-9]+", "-", folder.absolute().name.lower()).strip("-") or "slm-gate-candidate"


def _absent(pack: DomainPack) -> set[str]:
    """What the pack does not ask for, and the rate of a split that is all of it."""
    absent = set(not_asked(pack))
    return absent | ({"exact_match_final_rate"} if "exact_match_dev_rate" in absent else set())


def _from(folder: Path, model: str) -> str:
    """A local model's path as it is seen from the folder; a hub id as it is."""
    place = Path(model).expanduser()
    if not place.exists():
        return model
    try:
        return Path(os.path.relpath(place.absolute(), folder.absolute())).as_posix()
    except ValueError:  # on another drive of Windows
        return place.absolute().as_posix()


def _measured(model: str, pack: DomainPack) -> Mapping[str, Estimate]:
    """What the source model reaches on the pack."""
    from harness.measure.quality import measure_source_quality  # here: these load what only --measure needs
    from harness.measure.source_answers import ask_source
    from harness.pipeline.conversion import ConversionPipeline
    from harness.toolchain.workspace import Workspace

    with shown_progress() as progress:
        workspace = Workspace.open(default_cache(), progress=progress)
        source = ConversionPipeline(model=ModelSettings(source=model), variants={}, workspace=workspace).source
        found = ask_source(source, pack, workspace)
    return measure_source_quality(found.answers, found.length_answers, pack).measurement.estimates


def _tell(folder: Path, pack: DomainPack, profile: DeviceProfile, report: ReadReport | None, model: str | None) -> None:
    for line in report.lines(_REFUSED) if report else ():
        print(line)
    for remark in pack.remarks:
        if remark.what != INFERRED:
            print(f"note: {remark}")
    print(f"\n{folder / 'gate.toml'}: limits drafted for {profile.name}, {profile.description}")
    print(f"{folder / 'pack'}: {len(pack.cases) if report else 'five'} cases{'' if report else ' to replace'}")
    print(f"{folder / _WORKFLOW}: runs the gate on every push")
    for line in _workflow_needs(folder, model):
        print(f"  {line}")
    print("\nNext:")
    if report:
        schema = f" and {SCHEMA_FILE}" if pack.response_schema is not None else ""
        print(f"  check what was inferred against the answers seen: {folder / 'pack' / 'domain.toml'}{schema}")
    if model is None:
        print(f"  put your model into {folder / 'gate.toml'}")
    if report is None:
        print(f"  replace the cases in {folder / 'pack' / 'cases.jsonl'}")
    print(f"  slm-gate run --config {folder / 'gate.toml'}")


def _workflow_needs(folder: Path, model: str | None) -> list[str]:
    """What must be so before a CI service can run the workflow."""
    lines = [] if (folder / ".git").exists() else [f"where {folder} is the root of a repository; put it there"]
    source = _from(folder, model) if model else ""
    if model and Path(model).expanduser().exists() and (source.startswith("..") or Path(source).is_absolute()):
        lines.append(
            f"where the model is: {source} is outside of {folder}, so not in its repository: name a hub id, keep it "
            "there with Git LFS, or add a step that fetches it"
        )
    return lines
