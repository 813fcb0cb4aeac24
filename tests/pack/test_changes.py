"""What reading takes from the texts of rows is told; what it leaves alone is not."""

import json

import pytest

from harness.pack.formats.question import ReadOptions
from harness.pack.split import read_test_split

TURNS = [{"role": "user", "content": "q?"}, {"role": "assistant", "content": "a"}]
CHANGED = {
    "an end of sequence": ({"prompt": "q?", "completion": "a</s>"}, ["'</s>' taken from the end of 1 answer"]),
    "two ends": (
        {"prompt": "q?", "completion": "a<|im_end|></s>"},
        ["'</s>' taken from the end of 1 answer", "'<|im_end|>' taken from the end of 1 answer"],
    ),
    "a leading blank": ({"prompt": "q?", "completion": " a"}, ["blanks and line ends taken from around 1 answer"]),
    "line ends": ({"prompt": "q?\n\n", "completion": "a"}, ["blanks and line ends taken from around 1 question"]),
    "an answer of messages": (
        {"messages": [TURNS[0], {**TURNS[1], "content": "a<|im_end|>"}]},
        ["'<|im_end|>' taken from the end of 1 answer"],
    ),
    "a text of which a question is made": (
        {"instruction": "do it\n", "input": "x", "output": "a"},
        ["blanks and line ends taken from around 1 question"],
    ),
    "one ideal answer of two": ({"input": "q?", "ideal": ["a", "b "]}, ["blanks and line ends taken from around 1 answer"]),
    "thanks behind the answer": (
        {"messages": [*TURNS, {"role": "user", "content": "Thanks!"}]},
        ["turns behind the last answer are not asked in 1 conversation"],
    ),
    "nothing": ({"prompt": "q?", "completion": "a"}, []),
    "nothing of a pack's case": ({"id": "c", "kind": "k", "messages": [{"role": "user", "content": " q?"}], "expected": "a"}, []),
    "blanks in a field that is not read": ({"prompt": "q?", "completion": "a", "remark": " x "}, []),
    "blanks inside": ({"prompt": "q  ?", "completion": "a\n\nb"}, []),
}  # fmt: skip


def notes(tmp_path, rows, options=None):
    file = tmp_path / "split.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    _, report = read_test_split(file, options)
    return [one for one in report.notes if not one.startswith(("kinds", "not used"))]


@pytest.mark.parametrize(("row", "told"), CHANGED.values(), ids=CHANGED)
def test_a_change_is_told_by_its_kind(tmp_path, row, told):
    assert notes(tmp_path, [row]) == told


def test_changes_are_counted_over_the_rows_that_are_asked(tmp_path):
    rows = [{"prompt": f"q{n}?", "completion": f"a{n}</s>"} for n in range(5)]
    assert notes(tmp_path, [*rows, {"prompt": " ", "completion": "b</s>"}]) == [
        "'</s>' taken from the end of 5 answers"
    ]


def test_every_turn_leaves_no_answer_behind(tmp_path):
    turns = [*TURNS, {"role": "user", "content": "and?"}, {"role": "assistant", "content": "b"}]
    assert notes(tmp_path, [{"messages": turns}], ReadOptions(every_turn=True)) == []


def test_texts_beside_lists_of_messages_are_told(tmp_path):
    rows = [{"prompt": f"q{n}?", "completion": "a"} for n in range(3)]
    rows.append({"prompt": TURNS[:1], "completion": TURNS[1:]})
    assert notes(tmp_path, rows) == ["rows hold lists of messages (1) and texts (3)"]


LACKING = {
    "a completion": ({"prompt": "q?", "completion": "a"}, {"prompt": "r?"}, "completion"),
    "a prompt": ({"prompt": "q?", "completion": "a"}, {"completion": "b"}, "prompt"),
    "an ideal answer": ({"input": "q?", "ideal": "a"}, {"input": "r?"}, "ideal"),
    "an output": ({"instruction": "q?", "output": "a"}, {"instruction": "r?"}, "output"),
    "a column": ({"Query": "q?", "Reply": "a", "nr": 1}, {"Query": "r?", "nr": 2}, "Reply"),
    "a target": ({"doc": {}, "target": "t", "arguments": [["p", {}]]}, {"doc": {}, "arguments": [["r", {}]]}, "target"),
    "a kind": (
        {"id": "a", "kind": "k", "messages": TURNS[:1], "expected": "a"},
        {"id": "b", "messages": TURNS[:1], "expected": "a"},
        "kind",
    ),
    "nothing that is known": ({"prompt": "q?", "completion": "a"}, {"page": "A page."}, ""),
}  # fmt: skip


@pytest.mark.parametrize(("sound", "row", "field"), LACKING.values(), ids=LACKING)
def test_the_field_that_a_row_lacks_is_named(tmp_path, sound, row, field):
    file = tmp_path / "split.jsonl"
    many = [json.loads(json.dumps(sound).replace('"q?"', f'"q{n}?"').replace('"p"', f'"p{n}"')) for n in range(11)]
    for number, one in enumerate(many):
        one.update({"id": f"case-{number}"} if "id" in one else {})
    file.write_text("\n".join(map(json.dumps, [*many, row])), encoding="utf-8")
    _, report = read_test_split(file)
    found = next(one for one in report.refused if one.line == 12)
    assert found.field == field
    assert found.why == ("is missing" if field else "has no question and answer of a known format")
