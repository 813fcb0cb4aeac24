"""`slm-gate report`: the tables of a stored run."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from harness.cli.command import PATH, Example, GateCommand
from harness.report.build import read_run
from harness.report.findings import findings, recommendation, verdict_line
from harness.report.notes import warnings
from harness.report.table import comparison_table, further_tables
from harness.system.paths import REPOSITORY

EXAMPLES: Final = (
    Example(purpose="the newest run", arguments="report"),
    Example(purpose="another run", arguments="report results/2026-01-31T12-00-00Z-ab12"),
)


@click.command("report", cls=GateCommand, examples=EXAMPLES)
@click.argument("run", type=PATH, default=REPOSITORY / "results" / "latest")
def command(run: Path) -> int:
    """Show the tables of a stored run.

    RUN is the run's folder (default: results/latest beside suites/).
    """
    if run.is_file():  # where links are refused, `latest` is a file with the run's name
        run = run.with_name(run.read_text(encoding="utf-8").strip())
    record = read_run(run)
    print(f"{record.run_id}: {record.model.spec}, {record.domain.name}\n")
    print(comparison_table(record))
    for title, table in further_tables(record):
        print(f"\n{title}\n\n{table}")
    verdicts = [verdict_line(name, variant) for name, variant in record.variants.items()]
    print("\n".join(["", *warnings(record), *findings(record), *verdicts, recommendation(record)]))
    return 0
