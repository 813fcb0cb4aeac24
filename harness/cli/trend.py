"""`slm-gate trend`: numbers of stored runs over time."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
from tabulate import tabulate

from harness.cli.command import PATH, Example, GateCommand
from harness.metrics.catalogue import metric_named
from harness.regression.trend import SHOWN, read_records, series_of
from harness.system.paths import REPOSITORY

EXAMPLES: Final = (
    Example(purpose="speed, size, memory and quality of all stored runs", arguments="trend"),
    Example(purpose="other metrics", arguments="trend --metric kld_mean_nats --metric load_s"),
)


@click.command("trend", cls=GateCommand, examples=EXAMPLES, statuses={0: "shown", 2: "a metric is mistyped"})
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="instead of the usual ones; may be repeated")
@click.option("--results-dir", type=PATH, default=REPOSITORY / "results", help="where the runs are")
def command(metrics: tuple[str, ...], results_dir: Path) -> int:
    """Draw numbers of stored runs over time, machine by machine, with a stroke where their level changed.

    Times of two machines never stand in one series. For a verdict between two versions use `compare` or --baseline.
    """
    names = [metric_named(name).name for name in metrics] or list(SHOWN)
    found = series_of(read_records(results_dir), names)
    if not found:
        print(f"no two runs of one model on one machine below {results_dir}")
        return 0
    for model, machine in dict.fromkeys((one.model, one.machine) for one in found):
        own = [one for one in found if (one.model, one.machine) == (model, machine)]
        print(f"{model} on {machine}\n")
        rows = [
            [
                one.variant,
                one.metric,
                len(one.points),
                *(metric_named(one.metric).format(point.value) for point in (one.points[0], one.points[-1])),
                one.drawing,
            ]
            for one in own
        ]
        print(tabulate(rows, headers=["variant", "metric", "runs", "first", "last", ""], disable_numparse=True))
        print("\n".join(["", *(line for one in own for line in one.told)]))
    return 0
