"""Writes the README's generated parts: the table of metrics, and what a stored run printed.

usage: python docs/readme.py [RUN_FOLDER]
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from harness.config import Limit, load_config
from harness.metrics import METRICS
from harness.report.record import load_record
from harness.report.table import comparison_table, recommendation
from harness.units import format_metric

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"


def metrics_table() -> str:
    """One row per metric: what it says, where it is measured, what the demo's gate.toml allows."""
    limits = load_config(ROOT / "gate.toml", known_metrics=frozenset(METRICS)).limits
    rows = ["| metric | what it says | suite | limit |", "|---|---|---|---|"]
    for metric in METRICS.values():
        bound = _bound(metric.name, limits.get(metric.name))
        rows.append(f"| `{metric.name}` | {metric.meaning} | `{metric.suite}` | {bound} |")
    return "\n".join(rows)


def _bound(metric: str, limit: Limit | None) -> str:
    if limit is None:
        return ""
    sign, edge = ("≥", limit.min) if limit.min is not None else ("≤", limit.max)
    return f"{sign} {format_metric(metric, edge)}"


def run_output(run: Path) -> str:
    """The tables that the run ended with, indented as code."""
    record = load_record(run)
    verdicts = [f"{name}: {variant.verdict.upper()}" for name, variant in record.variants.items()]
    text = "\n".join([comparison_table(record), "", *verdicts, recommendation(record)])
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())


def with_part(text: str, name: str, content: str) -> str:
    """The text with the part between `<!-- name -->` and `<!-- /name -->` replaced."""
    pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    return re.sub(pattern, lambda found: f"{found[1]}{content}\n{found[2]}", text, flags=re.DOTALL)


def main() -> None:
    """Write the README anew."""
    text = with_part(README.read_text(encoding="utf-8"), "metrics", metrics_table())
    if len(sys.argv) > 1:
        text = with_part(text, "output", run_output(Path(sys.argv[1])))
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
