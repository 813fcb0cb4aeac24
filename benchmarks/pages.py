"""Writes what was measured into the pages of docs/, between the markers `<!-- NAME -->` and `<!-- /NAME -->`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"


def write_part(page: str, name: str, text: str) -> None:
    """Put a text between the markers of a page; ends the program where the page has none."""
    file = DOCS / page
    before, begin, rest = file.read_text(encoding="utf-8").partition(f"<!-- {name} -->")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    if not begin or not end:
        sys.exit(f"docs/{page} has no part between <!-- {name} --> and <!-- /{name} -->: add the two lines")
    file.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
