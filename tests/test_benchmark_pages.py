"""What is measured goes between its markers, and nothing else of a page changes."""

import pytest

from benchmarks import pages


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "DOCS", tmp_path)
    return tmp_path / "page.md"


@pytest.mark.parametrize("former", ["\n", "\nold\n", "old", ""])
def test_a_page_keeps_what_stands_around_the_markers(page, former):
    page.write_text(f"before\n<!-- a -->{former}<!-- /a -->\nafter\n<!-- b -->\n<!-- /b -->\n", encoding="utf-8")
    pages.write_part("page.md", "a", "new")
    pages.write_part("page.md", "a", "newer")
    assert page.read_text("utf-8") == "before\n<!-- a -->\nnewer\n<!-- /a -->\nafter\n<!-- b -->\n<!-- /b -->\n"


@pytest.mark.parametrize("text", ["nothing", "<!-- a -->\n", "<!-- /a -->\n", "<!-- /a -->\n<!-- a -->\n"])
def test_a_page_without_both_markers_stays_as_it_is(page, text):
    page.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit, match="no part between <!-- a --> and <!-- /a -->"):
        pages.write_part("page.md", "a", "new")
    assert page.read_text("utf-8") == text
