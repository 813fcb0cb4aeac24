"""What the owner of a draft is shown of the answers that it was made from."""

import tomllib

import pytest

from harness.pack.schema import Case
from harness.pack.seen import seen_answers
from harness.pack.split import read_test_split
from harness.pack.write import domain_text, write_pack
from tests.pack.samples import SAMPLES


def cases(answers):
    turns = [{"role": "user", "content": "q?"}]
    return [
        Case.model_validate({"id": f"c{n}", "kind": "k", "split": "final", "messages": turns, "expected": answer})
        for n, answer in enumerate(answers)
    ]


SEEN = {
    "a field of few values": (
        [{"status": "ok"}, {"status": "ok"}, {"status": "fault"}],
        ["status, in 3 of 3 answers: ok (2), fault (1)"],
    ),
    "a field that not every answer has": (
        [{"a": 1}, {"a": 1, "b": None}],
        ["a, in 2 of 2 answers: 1 (2)", "b, in 1 of 2 answers: null (1)"],
    ),
    "an object inside": ([{"address": {"city": "Ulm"}}], ["address.city, in 1 of 1 answers: Ulm (1)"]),
    "many values": ([{"n": n} for n in range(30)], ["n, in 30 of 30 answers: 30 different ones, such as 0, 1, 2"]),
    "a long value": ([{"a": "x" * 50}], [f"a, in 1 of 1 answers: {'x' * 37}... (1)"]),
    "labels": (["yes", "no", "yes"], ["3 answers: yes (2), no (1)"]),
    "signs that a comment may not have": ([{"a\n": "b\x7f\x00"}], ["a , in 1 of 1 answers: b   (1)"]),
    "free text": ([f"answer {n}" for n in range(30)], []),
}


@pytest.mark.parametrize(("answers", "lines"), SEEN.values(), ids=SEEN)
def test_answers_are_counted_by_field(answers, lines):
    assert seen_answers(cases(answers)) == lines


def test_a_draft_lists_them_until_it_is_confirmed(tmp_path):
    pack, _ = read_test_split(SAMPLES["messages"](tmp_path).file)
    lines = seen_answers(pack.cases)
    assert lines[0].startswith("status, in 188 of 188 answers: fault (")
    assert all(f"#   {line}" in domain_text(pack) for line in lines)
    confirmed = pack.model_copy(update={"domain": pack.domain.model_copy(update={"draft": False})})
    assert lines[0] not in domain_text(confirmed)


def test_the_written_file_is_toml_whatever_the_answers_hold(tmp_path):
    file = tmp_path / "odd.jsonl"
    file.write_text('{"question": "q?", "answer": {"a\\u007f\\n": "\\u0000\\u0085\\u2028"}}')
    pack, _ = read_test_split(file)
    write_pack(pack, tmp_path / "pack")
    assert tomllib.loads((tmp_path / "pack" / "domain.toml").read_text(encoding="utf-8"))["read"]["rows"] == 1
