"""`slm-gate compare`: is B slower than A."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from harness.checks.verdict import ExitStatus
from harness.cli.command import PATH, TEXT, Example, GateCommand
from harness.cli.terminal import shown_progress
from harness.config.regression_limits import TOLERANCE
from harness.config.settings import ModelSettings
from harness.config.variants import parse_variants
from harness.errors import ConfigError
from harness.pack.choose import conversations_by_case
from harness.pack.split import open_domain
from harness.pipeline.conversion import ConversionPipeline, VariantRequest
from harness.regression.arm import Work
from harness.regression.drawing import ratio_table
from harness.regression.duel import Duel, control, fight
from harness.regression.questions import plain_conversations
from harness.regression.side import Side, parse_environment, parse_options, require_model
from harness.report.jsonline import to_json
from harness.runtime.session import Message
from harness.system.paths import default_cache
from harness.system.progress import SILENT
from harness.toolchain.pinned import ensure_environment
from harness.toolchain.workspace import Workspace

EXAMPLES: Final = (
    Example(purpose="two converted models", arguments="compare converted/int4 new/int4"),
    Example(purpose="two recipes of one model", arguments="compare int4 int8 --model ./my-model"),
    Example(purpose="two releases of the runtime", arguments="compare DIR DIR --release-b 0.17.1"),
    Example(purpose="two settings", arguments="compare DIR DIR --set-b intra_op_num_threads=1"),
    Example(purpose="what this machine can tell apart", arguments="compare DIR DIR --control"),
)
STATUSES: Final = {
    ExitStatus.PASS: "B is as fast as A, or faster",
    ExitStatus.FAIL: "B is slower",
    ExitStatus.UNUSABLE_INPUT: "they cannot be compared: a folder, an option, a release that cannot be installed",
    ExitStatus.UNDECIDED: "undecided: the machine is too noisy for the time given",
}
_CASES: Final = 8


@click.command("compare", cls=GateCommand, examples=EXAMPLES, statuses=STATUSES)
@click.argument("a", type=TEXT)
@click.argument("b", type=TEXT)
@click.option(
    "--model", metavar="MODEL", help="source model; A and B are then recipes, as `convert --variants` has them"
)
@click.option("--domain", type=PATH, metavar="PACK", help="a pack or a test split whose questions are asked")
@click.option("--release-a", metavar="VERSION", help="of onnxruntime-genai for A; installed once, kept in the cache")
@click.option("--release-b", metavar="VERSION", help="the same for B")
@click.option("--python-a", type=PATH, metavar="PYTHON", help="an interpreter with onnxruntime-genai and numpy, for A")
@click.option("--python-b", type=PATH, metavar="PYTHON", help="the same for B")
@click.option("--set-a", multiple=True, metavar="NAME=VALUE", help="session option for A (intra_op_num_threads=1)")
@click.option("--set-b", multiple=True, metavar="NAME=VALUE", help="the same for B")
@click.option("--env-a", multiple=True, metavar="NAME=VALUE", help="environment variable for A")
@click.option("--env-b", multiple=True, metavar="NAME=VALUE", help="the same for B")
@click.option("--tolerance", type=click.FloatRange(0.1, 50), default=100 * TOLERANCE, show_default=True,
              metavar="PERCENT", help="slower by so much counts as the same")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(1), metavar="S",
              help="of measuring (default: 30, in processes 120; of what loads slowly more)")  # fmt: skip
@click.option("--tokens", type=click.IntRange(2), metavar="N",
              help="generated per request (default: 64, of slow models fewer, 16 at least)")  # fmt: skip
@click.option("--control", "has_control", is_flag=True, help="first A against itself: what this machine tells apart")
@click.option("--json", "as_json", is_flag=True, help="for machines")
def command(a: str, b: str, as_json: bool, has_control: bool, **given: Any) -> int:
    """Compare the speed of two converted models, or of one under two runtimes, releases or settings.

    A and B are folders of models for onnxruntime-genai, or recipes with --model. Both are asked the same in turn, so
    that what drifts meets both alike; measuring stops as soon as the answer is clear.
    """
    with shown_progress() as shown:
        workspace = Workspace.open(default_cache(), progress=SILENT if as_json else shown)
        first, second = _sides(a, b, workspace, given)
        work = _work(given["domain"], given["tokens"])
        how = {"tolerance": given["tolerance"] / 100, "budget_s": given["seconds"]}
        of_control = control(first, work, workspace, **how) if has_control else None
        found = fight(first, second, work, workspace, **how)
    if as_json:
        print(to_json({"control": of_control.as_dict() if of_control else None, **found.as_dict()}, indent=1))
        return found.status
    if of_control is not None:
        print(f"control: {_shown(of_control)}\n{_resolved(of_control)}\n")
    print(_shown(found))
    print(found.verdict)
    return found.status


def _shown(found: Duel) -> str:
    return "\n".join([
        f"{found.candidate.name} against {found.baseline.name}: {found.way}",
        found.answers.told, "", ratio_table(found.checks), "",
    ])  # fmt: skip


def _resolved(found: Duel) -> str:
    told = [f"{name} ±{100 * half:.1f} %" for name, half in found.comparison.resolution.items() if half is not None]
    false = "" if found.status is not ExitStatus.FAIL else "; IT TAKES THE SAME FOR SLOWER: believe nothing of it now"
    return f"this machine told apart: {', '.join(told)} in {found.comparison.measuring_s:.0f} s{false}"


def _sides(a: str, b: str, workspace: Workspace, given: dict[str, Any]) -> tuple[Side, Side]:
    folders = converted_folders(a, b, given["model"], workspace) if given["model"] else [Path(a), Path(b)]
    sides = [
        Side(
            name=f"{letter.upper()} ({_short(name)})",
            folder=require_model(folder),
            options=parse_options(given[f"set_{letter}"], f"--set-{letter}"),
            environment=parse_environment(given[f"env_{letter}"], f"--env-{letter}"),
            python=_python(letter, workspace, given),
        )
        for letter, name, folder in zip("ab", (a, b), folders, strict=True)
    ]
    return sides[0], sides[1]


def _short(name: str) -> str:
    """A recipe, or the last two parts of a path."""
    return "/".join(Path(name).parts[-2:])


def _python(letter: str, workspace: Workspace, given: dict[str, Any]) -> Path | None:
    python: Path | None = given[f"python_{letter}"]
    release: str | None = given[f"release_{letter}"]
    if python and release:
        raise ConfigError(
            f"--python-{letter} and --release-{letter} name two runtimes", next_step="give one of the two options"
        )
    if not release:
        return python
    return ensure_environment(workspace, "runtimes", f"onnxruntime-genai=={release}", "numpy", size="0.2 GB")


def converted_folders(a: str, b: str, model: str, workspace: Workspace) -> list[Path]:
    """Folders of two recipes of a model, from the cache where they are there."""
    settings = parse_variants(",".join(dict.fromkeys([a, b])))
    variants = {name: VariantRequest.from_settings(one) for name, one in settings.items()}
    pipeline = ConversionPipeline(
        model=ModelSettings(source=model), variants=variants, workspace=workspace, has_fidelity=False
    )
    made = [pipeline.artifact(name) for name in settings]  # one where A and B are the same
    return [made[0].path, made[-1].path]


def _work(domain: Path | None, tokens: int | None) -> Work:
    asked: Sequence[Sequence[Message]] = plain_conversations()
    if domain is not None:
        asked = list(conversations_by_case(open_domain(domain), _CASES).values())
    if tokens is None:
        return Work(conversations=asked)
    return Work(conversations=asked, new_tokens=tokens, least_tokens=tokens)
