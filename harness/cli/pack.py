"""`slm-gate pack`: a team's test split becomes a domain pack."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from harness.checks.verdict import ExitStatus
from harness.cli.command import PATH, TEXT, Example, GateCommand
from harness.pack.formats.question import ReadOptions
from harness.pack.remarks import INFERRED
from harness.pack.schema import DomainPack
from harness.pack.split import ReadReport, read_test_split
from harness.pack.write import domain_text, write_pack

EXAMPLES: Final = (
    Example(
        purpose="what is read of a test split, what is refused, and what its answers look like",
        arguments="pack test.jsonl",
    ),
    Example(purpose="write it down as a pack, to be confirmed", arguments="pack test.jsonl --out my-pack"),
    Example(
        purpose="a table with columns of other names", arguments="pack table.csv --question Frage --answer Antwort"
    ),
    Example(purpose="every answer of each conversation", arguments="pack chats.jsonl.gz --every-turn --out my-pack"),
)
STATUSES: Final = {
    ExitStatus.PASS: "the file was read; rows that cannot be asked are listed",
    ExitStatus.UNUSABLE_INPUT: "the file cannot be read, mixes formats, or most of it cannot be asked",
}
_SHOWN: Final = 20


@click.command("pack", cls=GateCommand, examples=EXAMPLES, statuses=STATUSES)
@click.argument("file", type=PATH)
@click.option("--out", type=PATH, metavar="DIR", help="write the pack into this folder, new or empty")
@click.option("--question", type=TEXT, metavar="FIELD", help="field or column with the question (default: by its name)")
@click.option("--answer", type=TEXT, metavar="FIELD", help="field or column with the answer (default: by its name)")
@click.option("--system", type=TEXT, metavar="FIELD", help="field or column with a system prompt")
@click.option("--kind", type=TEXT, metavar="FIELD", help="field that says of which kind a question is")
@click.option(
    "--cluster", type=TEXT, metavar="FIELD", help="field that questions of one conversation or document share"
)
@click.option(
    "--every-turn", is_flag=True, help="ask for every answer of a conversation, and not only for the last one"
)
@click.option("--cases", type=click.IntRange(min=1), metavar="N", help="take N questions, spread over the file")
def command(
    file: Path,
    out: Path | None,
    question: str | None,
    answer: str | None,
    system: str | None,
    kind: str | None,
    cluster: str | None,
    every_turn: bool,
    cases: int | None,
) -> int:
    """Read a test split as it is, and draft a domain pack from it.

    FILE is JSON Lines, a JSON list or CSV, also in gzip: chat fine-tuning (messages), prompt and completion, Alpaca,
    ShareGPT, input and ideal, samples of lm-eval, or columns.
    """
    options = ReadOptions(
        question=question,
        answer=answer,
        system=system,
        kind=kind,
        cluster=cluster,
        every_turn=every_turn,
        cases=cases,
    )
    pack, report = read_test_split(file, options)
    print("\n".join(report.lines(_SHOWN)))
    for remark in pack.remarks:
        if remark.what != INFERRED:
            print(f"note: {remark}")
    if out is None:
        print(f"\n{domain_text(pack)}\nNothing was written: say --out DIR.")
    else:
        _write(pack, report, out)
    return ExitStatus.PASS


def _write(pack: DomainPack, report: ReadReport, out: Path) -> None:
    names = ", ".join(file.name for file in write_pack(pack, out, report.refused))
    print(f"\n{out}: {names}")
    print(f"Check {out / 'domain.toml'} against the answers that its comments list, and delete `draft = true`. Then:")
    print(f"  slm-gate run --model MODEL --domain {out}")
