"""The paths that the leak check walks, on fakes."""

from __future__ import annotations

import pytest

from harness.errors import MeasureError
from harness.measure.children.walks import Walker
from harness.runtime.fake import FakeSession

SHORT = [[{"role": "user", "content": text}] for text in ("Hi", "Hello")]
TOO_LONG = [{"role": "user", "content": "word " * 200}]


class Counting(FakeSession):
    """Notes what was done, in order."""

    def __init__(self):
        super().__init__(lambda messages: "an answer", context_length=200)
        self.done = []

    def answer(self, messages, *, max_new_tokens, min_new_tokens=0):
        self.done.append((len(messages[0]["content"]), max_new_tokens))
        return super().answer(messages, max_new_tokens=max_new_tokens)

    def open_and_drop(self):
        self.done.append("open")

    def fail(self):
        self.done.append("fail")

    def reload(self):
        self.done.append("reload")


class Plain:
    """A session that only answers."""

    name, context_length = "plain", 200

    def __init__(self):
        self.answer, self.close = Counting().answer, lambda: None


def walker(session, invalid=TOO_LONG):
    return Walker(session=session, conversations=SHORT, invalid=invalid, max_new_tokens=2, long_new_tokens=12)


@pytest.mark.parametrize(
    ("path", "units", "done"),
    [
        ("request", 3, [(2, 2), (5, 2), (2, 2)]),
        ("token", 27, [(2, 12), (5, 12), (2, 12)]),  # nine characters, nine tokens each
        ("session", 3, ["open"] * 3),
        ("stream", 3, [(2, 1), (5, 1), (2, 1)]),
        ("error", 3, ["fail", (1000, 2)] * 3),
        ("load", 3, ["reload", (2, 2), "reload", (5, 2), "reload", (2, 2)]),
    ],
)
def test_every_path_is_walked_as_often_as_asked(path, units, done):
    session = Counting()
    assert walker(session).walk(path, 3) == units
    assert session.done == done


def test_a_round_walks_all_paths_but_the_load():
    assert walker(Counting()).round(2) == {"request": 8, "token": 18, "session": 8, "stream": 4, "error": 4}


def test_a_session_that_only_answers_has_fewer_paths():
    assert set(walker(Plain()).round(1)) == {"request", "token", "error"}


def test_an_invalid_request_that_is_answered_is_told():
    with pytest.raises(MeasureError, match="error path"):
        walker(Counting(), invalid=SHORT[0]).walk("error", 1)
