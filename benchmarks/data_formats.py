"""Takes a test split in each format to a verdict with `pytest suites/ --data FILE`: what is said, how long it takes.

Each file has 200 rows of the demo's domain, written in the manner of real fine-tuning sets with their dirt
(tests/pack/samples.py). The demo model answers them, all anew; its artifacts are in the cache after the first run.

    python benchmarks/data_formats.py                     # the whole gate, for every format
    python benchmarks/data_formats.py csv alpaca          # for two of them
    python benchmarks/data_formats.py --quality           # the quality suites only
    python benchmarks/data_formats.py --page              # and writes docs/data-formats.md, all or these formats
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tabulate import tabulate

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from harness.checks.check import Outcome  # noqa: E402  # the script runs without an installation
from harness.metrics.units import format_seconds  # noqa: E402
from harness.report.cells import cell  # noqa: E402
from harness.report.record import RunRecord, load_record  # noqa: E402
from tests.pack.samples import SAMPLES  # noqa: E402

PAGE: Final = ROOT / "docs" / "data-formats.md"
QUALITY: Final = ("suites/quality", "--deselect", "suites/quality/test_memory_leaks.py")
_NAMES: Final = {name.replace(" ", "-"): name for name in SAMPLES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One file on its way to a verdict."""

    format: str
    file: Path
    seconds: float
    """From the command to its end."""

    status: int
    """Exit status of the run."""

    record: RunRecord

    @property
    def verdicts(self) -> str:
        """`int4 pass, int8 pass, fp16 fail`."""
        return ", ".join(f"{name} {variant.verdict}" for name, variant in self.record.variants.items())


def main() -> None:
    """Try the formats and print a table of what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=f"of {', '.join(_NAMES)}; all when left out")
    parser.add_argument("--quality", action="store_true", help="the quality suites only, not the whole gate")
    parser.add_argument("--page", action="store_true", help="write docs/data-formats.md")
    asked = parser.parse_args()
    unknown = set(asked.formats) - set(_NAMES)
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known are {', '.join(_NAMES)}")
    suites = QUALITY if asked.quality else ("suites/",)
    with tempfile.TemporaryDirectory() as folder:
        tried = [_try(_NAMES[name], Path(folder), suites) for name in asked.formats or _NAMES]
    rows = [[one.format, one.file.name, format_seconds(one.seconds), one.status, one.verdicts] for one in tried]
    headers = ["format", "file", "time", "exit status", "verdicts"]
    print(tabulate(rows, headers=headers, disable_numparse=True))
    if asked.page:
        sections = {} if not asked.formats else _written()
        sections |= {_title(one.format): _section(one) for one in tried}
        PAGE.write_text(page(sections, suites), encoding="utf-8", newline="\n")


def _try(name: str, folder: Path, suites: Sequence[str]) -> Tried:
    file = SAMPLES[name](folder).file
    results = folder / f"results-{file.name}"
    print(f"{name}: pytest {' '.join(suites)} --data {file.name}", flush=True)
    started = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *suites, "--data", str(file), "--fresh"]
    done = subprocess.run([*command, "--results-dir", str(results)], cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
    seconds = time.perf_counter() - started
    return Tried(
        format=name, file=file, seconds=seconds, status=done.returncode, record=load_record(results / "latest")
    )


_HEAD: Final = """# Test splits in every format, to a verdict

Written by `python benchmarks/data_formats.py{options} --page`. Each file has about 200 rows of the demo's domain in the
manner of real fine-tuning sets, with their dirt; nothing but the file is given:

    pytest {suites} --data FILE

The time is from the command to its end, for three variants that were converted before and answers that were not kept.

The rows under each format are what the run says at its head: what was read, what it takes answers to be, and every row
that it does not ask, with line, field and reason. The verdict is the demo model's, which was tuned on bare questions
and answers with JSON: a system prompt that it has never seen costs it some answers, and it knows no labels.
Whether conversion or tuning is to blame is said with every check that did not pass.
"""


def page(sections: Mapping[str, str], suites: Sequence[str]) -> str:
    """`docs/data-formats.md`, of sections by title."""
    options = " --quality" if suites == QUALITY else ""
    ordered = [sections[title] for title in map(_title, SAMPLES) if title in sections]
    return "\n".join([_HEAD.format(options=options, suites=" ".join(suites)), *ordered])


def _written() -> dict[str, str]:
    """The page's sections as they are, by title."""
    _, *sections = PAGE.read_text(encoding="utf-8").split("\n## ")
    return {section.partition("\n")[0]: f"## {section.rstrip()}\n" for section in sections}


def _title(name: str) -> str:
    return f"{name[0].upper()}{name[1:]}"


def _section(one: Tried) -> str:
    lines = [f"## {_title(one.format)}\n", f"`{one.file.name}`: {one.verdicts}, in {format_seconds(one.seconds)}.\n"]
    lines += [f"* {_plain(line, one)}" for line in one.record.domain.reading]
    lines += [f"* note: {_plain(line, one)}" for line in one.record.domain.remarks]
    failed = [
        f"{check.headline(name)}; {_why(check.details)}"
        for name, variant in one.record.variants.items()
        for check in variant.checks
        if check.outcome is not Outcome.PASS
    ]
    if failed:
        lines += ["\nNot passed:\n", *(f"* {_plain(line, one)}" for line in failed)]
    return "\n".join([*lines, ""])


def _why(details: str) -> str:
    """The first line, and what is said of the source model behind it; no examples."""
    first, *others = details.splitlines()
    return "; ".join([first, *(line for line in others if "the source model fails" in line)])


def _plain(line: str, one: Tried) -> str:
    return cell(line.replace(f"{one.file.parent}/", ""))


if __name__ == "__main__":
    main()
