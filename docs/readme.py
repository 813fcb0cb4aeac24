"""Writes the generated parts: docs/metrics.md, the rooms, and, where asked, what commands printed.

usage: python docs/readme.py [RUN_FOLDER]    the README's run is that one
       python docs/readme.py --convert       docs/conversion.md shows what the demo model's conversion prints now;
                                             SLM_GATE_TOOLCHAIN may name an interpreter that has the packages
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import sys
import tempfile
import textwrap
from pathlib import Path

from harness import GROUND, ROOMS, WAY
from harness.cli import main as cli
from harness.config.limits import Limit
from harness.config.load import load_config
from harness.metrics.catalogue import METRICS, Group, Metric
from harness.report.findings import recommendation
from harness.report.record import load_record
from harness.report.table import comparison_table

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
CONVERSION = ROOT / "docs" / "conversion.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
METRICS_PAGE = ROOT / "docs" / "metrics.md"


def arrow() -> str:
    """The way of a model through the rooms, in the order that imports keep."""
    way = " -> ".join(WAY)
    lines = textwrap.wrap(way, 100, break_on_hyphens=False, break_long_words=False)
    return as_code("\n".join([*lines, f"below them: {', '.join(GROUND)}"]))


def rooms_page() -> str:
    """One line for each room and each of its modules, from their docstrings."""
    parts = []
    for room, what in ROOMS.items():
        parts.append(f"**`harness/{room}{'' if (ROOT / 'harness' / room).is_dir() else '.py'}`** {what}")
        modules = sorted((ROOT / "harness" / room).rglob("[!_]*.py"))
        parts.append(
            "\n".join(f"* `{file.relative_to(ROOT / 'harness' / room).as_posix()}` {_says(file)}" for file in modules)
        )
    return "\n\n".join(part for part in parts if part)


def _says(module: Path) -> str:
    """The first paragraph of a module's docstring, on one line."""
    text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def metrics_page() -> str:
    """`docs/metrics.md`: every metric by group, with unit, direction, estimator, suite and the demo's limit."""
    limits = load_config(ROOT / "gate.toml").limits
    parts = [_METRICS_HEAD]
    for group in Group:
        rows = [_metric_row(metric, limits.get(metric.name)) for metric in METRICS.values() if metric.group is group]
        head = [
            "| metric | what it says | unit | better | estimator | suite | limit |",
            "|---|---|---|---|---|---|---|",
        ]
        parts.append("\n".join([f"## {group[0].upper()}{group[1:]}", "", *head, *rows]))
    return "\n\n".join(parts) + "\n"


_METRICS_HEAD = """# Metrics

Written by `python docs/readme.py` from `harness/metrics/catalogue.py`. Every number is an estimate: a value, and for a
sample the 95 % interval that the estimator names. The limits are those of the demo's `gate.toml`, each with its reason
there; a metric without one is recorded and not judged. Yes/no criteria must always be met."""


def _metric_row(metric: Metric, limit: Limit | None) -> str:
    name = f"`{metric.name}`" + (f"<br>part of `{metric.parent}`" if metric.parent else "")
    better = "" if metric.is_criterion else metric.better.value
    bound = "must be met" if metric.is_criterion else _bound(metric, limit)
    cells = (name, metric.meaning, metric.unit.value, better, metric.estimator, f"`{metric.suite}`", bound)
    return f"| {' | '.join(cells)} |"


def _bound(metric: Metric, limit: Limit | None) -> str:
    if limit is None:
        return ""
    judged = ", bound judged" if limit.judge == "bound" else ""
    return f"{'≥' if limit.min is not None else '≤'} {metric.format(limit.edge)}{judged}"


def run_output(run: Path) -> str:
    """The comparison that the run ended with, indented as code; of its rows those that stand for the others."""
    record = load_record(run)
    rows = [line for line in comparison_table(record).splitlines() if not _is_detail(line.split()[0])]
    verdicts = [f"{name}: {variant.verdict.upper()}" for name, variant in record.variants.items()]
    return as_code("\n".join([*rows, "", *verdicts, recommendation(record)]))


_SHOWN = (
    "exact_match_rate",
    "json_valid_rate",
    "kld_mean_nats",
    "top1_agreement",
    "ttft_p95_s",
    "size_bytes",
    "peak_rss_bytes",
    "leak_bytes_per_request",
    "foundry_same_answer_rate",
)
"""What the README shows of the table: a row or two of each group."""


def _is_detail(name: str) -> bool:
    """Whether a row stays out of the README."""
    return name in METRICS and name not in _SHOWN


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
    METRICS_PAGE.write_text(metrics_page(), encoding="utf-8")
    rooms = with_part(ARCHITECTURE.read_text(encoding="utf-8"), "rooms", rooms_page())
    ARCHITECTURE.write_text(rooms, encoding="utf-8")
    text = with_part(README.read_text(encoding="utf-8"), "arrow", arrow())
    if len(sys.argv) > 1:
        text = with_part(text, "output", run_output(Path(sys.argv[1])))
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
