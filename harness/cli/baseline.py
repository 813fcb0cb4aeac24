"""`slm-gate baseline`: what stored runs are held against, and the regressions that were accepted."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
from tabulate import tabulate

from harness.cli.command import PATH, TEXT, Example, GateCommand
from harness.errors import ConfigError
from harness.metrics.catalogue import metric_named
from harness.regression.baseline import Baseline, baseline_folder, load_baseline, save_baseline
from harness.report.build import read_run
from harness.system.paths import REPOSITORY

EXAMPLES: Final = (
    Example(purpose="what a baseline holds", arguments="baseline show main"),
    Example(
        purpose="take what the newest run found to be worse, and say why",
        arguments='baseline accept main --metric size_ratio --reason "embeddings are kept in fp16 now"',
    ),
    Example(
        purpose="take no more than a limit of one's own",
        arguments='baseline accept main --metric itl_ratio --up-to 1.1 --reason "a longer context costs it"',
    ),
)
STATUSES: Final = {0: "done", 2: "there is no such baseline, or nothing to accept"}


@click.command("baseline", cls=GateCommand, examples=EXAMPLES, statuses=STATUSES)
@click.argument("action", type=click.Choice(["show", "accept"]))
@click.argument("name", type=TEXT)
@click.option("--metric", metavar="NAME", help="accept: which comparison may be worse")
@click.option("--reason", metavar="TEXT", help="accept: why; it is kept in the baseline and shown by later runs")
@click.option("--up-to", type=float, metavar="VALUE", help="accept: the new limit (default: what the newest run has)")
@click.option("--run", type=PATH, help="accept: the run that has it (default: results/latest)")
@click.option("--results-dir", type=PATH, default=REPOSITORY / "results", help="where baselines and runs are")
def command(
    action: str,
    name: str,
    metric: str | None,
    reason: str | None,
    up_to: float | None,
    run: Path | None,
    results_dir: Path,
) -> int:
    """Show a baseline, or accept that later runs are worse than it by one metric.

    NAME is a baseline's name below results/baselines/, or its folder. Accepting is never implied: it is this command,
    with a reason that the file keeps.
    """
    folder = baseline_folder(name, results_dir, Path.cwd())
    baseline = load_baseline(folder)
    if action == "accept":
        if not metric or not reason:
            raise ConfigError("what is accepted needs --metric and --reason", next_step="slm-gate baseline --help")
        limit = up_to if up_to is not None else _found(metric, run or _latest(results_dir))
        baseline = baseline.accept(metric, limit, reason)
        save_baseline(baseline, folder)
    print(_shown(baseline, folder))
    return 0


def _latest(results: Path) -> Path:
    latest = results / "latest"
    return results / latest.read_text(encoding="utf-8").strip() if latest.is_file() else latest


def _found(metric: str, run: Path) -> float:
    """The worst end of what a run found of a metric, over its variants."""
    metric_named(metric)
    estimates = [variant.metrics.get(metric) for variant in read_run(run).variants.values()]
    ends = [one.value if one.high is None else one.high for one in estimates if one is not None]
    known = [end for end in ends if end is not None]
    if not known:
        raise ConfigError(
            f"the run has no {metric}", where=str(run), next_step="run with --baseline first, or give --up-to"
        )
    return max(known)


def _shown(baseline: Baseline, folder: Path) -> str:
    machine = baseline.machine
    rows = [
        ["folder", str(folder)],
        ["run", baseline.run_id],
        ["saved", f"{baseline.saved_at:%Y-%m-%d %H:%M} UTC"],
        ["machine", f"{machine.processor}, {machine.usable_cores or machine.logical_cores} cores, {machine.system}"],
        ["runtime", ", ".join(f"{name} {version}" for name, version in machine.versions.items())],
    ]
    for name, one in baseline.variants.items():
        right = f"{sum(one.right.values())} of {len(one.right)} answers right"
        rows.append([f"variant {name}", f"{len(one.metrics)} metrics, {right}"])
    for taken in baseline.accepted:
        told = f"{taken.metric} up to {taken.limit:.4g} on {taken.accepted_at:%Y-%m-%d}: {taken.reason}"
        rows.append(["accepted", told])
    return tabulate(rows, tablefmt="plain", disable_numparse=True)
