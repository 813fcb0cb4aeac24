"""Writes the generated parts: the README's table of metrics and, where asked, what commands printed.

usage: python docs/readme.py [RUN_FOLDER]    the README's run is that one
       python docs/readme.py --convert       docs/conversion.md shows what the demo model's conversion prints now;
                                             SLM_GATE_TOOLCHAIN may name an interpreter that has the packages
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import tempfile
from pathlib import Path

from harness.cli import main as cli
from harness.config.settings import Limit, load_config
from harness.metrics.catalogue import METRICS
from harness.metrics.units import format_metric
from harness.report.record import load_record
from harness.report.table import comparison_table, recommendation

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
CONVERSION = ROOT / "docs" / "conversion.md"


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
    return as_code("\n".join([comparison_table(record), "", *verdicts, recommendation(record)]))


def convert_output() -> str:
    """What `slm-gate convert` ends with on the demo model, indented as code; its progress is left out."""
    arguments = ["convert", str(ROOT / "fixtures/data/demo/model"), "--out", "converted"]
    shown = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), contextlib.redirect_stdout(shown):
        status = cli.main(arguments)
    if status != 0:
        sys.exit("the demo model is not converted")
    return as_code("\n".join(line for line in shown.getvalue().splitlines() if not line.startswith("  … ")))


def as_code(text: str) -> str:
    """Markdown that shows a text as it is."""
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())


def with_part(text: str, name: str, content: str) -> str:
    """The text with the part between `<!-- name -->` and `<!-- /name -->` replaced."""
    pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    return re.sub(pattern, lambda found: f"{found[1]}{content}\n{found[2]}", text, flags=re.DOTALL)


def main() -> None:
    """Write the generated parts anew."""
    if sys.argv[1:] == ["--convert"]:
        CONVERSION.write_text(
            with_part(CONVERSION.read_text(encoding="utf-8"), "convert", convert_output()), encoding="utf-8"
        )
        return
    text = with_part(README.read_text(encoding="utf-8"), "metrics", metrics_table())
    if len(sys.argv) > 1:
        text = with_part(text, "output", run_output(Path(sys.argv[1])))
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
