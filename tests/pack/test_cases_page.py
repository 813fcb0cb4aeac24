from tests.grading.test_adversary import TABLE
from tests.pack import test_misleading, test_sound
from tests.pack.cases_page import PAGE, page


def test_the_page_of_what_was_tried_is_what_is_tried():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.pack.cases_page"


def test_as_many_are_tried_as_are_promised():
    """Thirty packs of each kind; answers against every criterion and form, on both sides."""
    assert min(len(test_misleading.REFUSED), len(test_sound.SOUND)) >= 30
    assert all(row[3] or row[4] for row in TABLE.values())
