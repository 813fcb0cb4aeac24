"""`docs/pack-cases.md`: what packs, test splits and answers were tried, from the tables of the tests that hold them.

PYTHONPATH=. python -m tests.pack.cases_page        # writes it
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.report.cells import cell
from harness.system.paths import REPOSITORY
from tests.grading.test_adversary import TABLE
from tests.grading.test_patterns import WHERE
from tests.pack import test_misleading, test_sound, test_split

PAGE = REPOSITORY / "docs" / "pack-cases.md"

_HEAD = """# What packs, test splits and answers were tried

Written by `python -m tests.pack.cases_page` from the tables of `tests/pack/` and `tests/grading/`; a test holds the page
against them. Everything here is tried on every run of the fast tests.

| tried | number | what must happen |
|---|---|---|
{counts}
"""


def page() -> str:
    """The page as the tables are now."""
    told = test_misleading.TOLD
    split = test_split.REFUSED
    rows: list[Any] = list(TABLE.values())
    right, wrong = (sum(len(row[at]) for row in rows) for at in (3, 4))
    counts = [
        (
            "packs that mislead or break",
            len(test_misleading.REFUSED),
            "refused when read: file, line, field, a way out",
        ),
        ("packs that say less than they seem to", len(told), "told when read: file, line, a way out"),
        ("odd but sound packs", len(test_sound.SOUND), "taken without a word"),
        ("test splits that cannot be asked", len(split), "refused when read, with a way out"),
        ("odd but sound test splits", len(test_split.TAKEN), "taken"),
        ("right answers, however written", right, "right, and valid where there is a form"),
        ("wrong answers, however alike", wrong, "wrong, with the reason"),
        ("patterns that search without end", len(WHERE), "told with pattern, case and answer; nothing hangs"),
    ]
    parts = [
        _HEAD.format(counts="\n".join(_row(row) for row in counts)),
        _list(
            "Packs that are refused", ("pack", "where", "what is said", "way out"), _refused(test_misleading.REFUSED)
        ),
        _list("Packs that are told", ("pack", "where", "what is said", "way out"), _refused(told)),
        _list("Odd but sound packs", ("pack",), ([name] for name in test_sound.SOUND)),
        _list("Test splits that are refused", ("file", "what is said", "way out"), _refused(split)),
        _list("Odd but sound test splits", ("file",), ([name] for name in test_split.TAKEN)),
        _list("Answers", ("criterion or form", "right", "wrong"), _answers()),
        _list("Endless patterns", ("where the pattern stands",), ([name] for name in WHERE)),
    ]
    return "\n".join(parts)


def _refused(table: Mapping[str, Sequence[Any]]) -> Iterable[Sequence[str]]:
    return ([name, *row[1:]] for name, row in table.items())


def _answers() -> Iterable[Sequence[str]]:
    return ([name, str(len(row[3])), str(len(row[4]))] for name, row in TABLE.items())


def _list(title: str, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_row(headers), f"|{'---|' * len(headers)}", *(_row(row) for row in rows)]
    return f"## {title}\n\n" + "\n".join(lines) + "\n"


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(cell(one) for one in cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
