"""Test splits as teams have them: what is read, what is refused and why, what is inferred."""

import json
from collections import Counter

import pytest

from harness.errors import PackError
from harness.grading.grade import Grader
from harness.pack.formats.question import ReadOptions
from harness.pack.load import load_pack
from harness.pack.split import load_data, read_test_split
from harness.pack.write import write_pack
from tests.pack.samples import SAMPLES


@pytest.fixture(scope="module", params=SAMPLES)
def sample(request, tmp_path_factory):
    return SAMPLES[request.param](tmp_path_factory.mktemp("samples"))


@pytest.fixture(scope="module")
def read(sample):
    return read_test_split(sample.file)


def test_every_dirty_row_is_refused_by_line_and_reason_and_no_other(sample, read):
    told = {one.line: str(one) for one in read[1].refused}
    assert {line: what in told.get(line, "") for line, what in sample.dirt.items()} == dict.fromkeys(sample.dirt, True)
    assert set(told) == set(sample.dirt)


def test_every_clean_row_becomes_a_case(sample, read):
    pack, report = read
    assert report.row_count == 200
    assert len(pack.cases) == report.case_count == 200 - len(sample.dirt)


def test_the_expected_answers_meet_their_own_criterion_and_form(read):
    pack, _ = read
    grader = Grader.of(pack)
    for case in pack.cases:
        answer = case.right_answers[0]
        graded = grader.grade(case, answer if isinstance(answer, str) else json.dumps(answer))
        assert graded.is_exact, graded.explanation
        assert graded.is_valid is True, graded.explanation
        assert not grader.grade(case, "I am sorry.").is_exact


def test_what_is_written_is_read_back_the_same(read, tmp_path):
    pack, _ = read
    write_pack(pack, tmp_path / "pack")
    assert load_pack(tmp_path / "pack").digest == pack.digest


def test_the_owner_is_told_to_confirm_what_was_inferred(read):
    assert any("inferred" in remark.what for remark in read[0].remarks)


def test_the_reading_goes_with_the_pack(sample):
    reading = load_data(sample.file).reading
    assert "200 rows" in reading[0]
    assert any(f"not taken: {len(sample.dirt)}" in line for line in reading)


def test_a_schema_is_drafted_from_answers_that_depend_on_a_status(tmp_path):
    pack, _ = read_test_split(SAMPLES["messages"](tmp_path).file)
    branches = {one["properties"]["status"]["const"]: one for one in pack.response_schema["oneOf"]}
    assert set(branches) == {"fault", "part", "unknown_code", "need_info", "out_of_scope"}
    assert "oven" in branches["fault"]["properties"]["device"]["enum"]
    assert branches["fault"]["properties"]["code"] == {"type": "string"}
    assert {case.kind for case in pack.cases} == set(branches)
    assert pack.domain.system_prompt.startswith("You answer")
    assert all(case.messages[0].role == "user" for case in pack.cases)


def rows_file(tmp_path, rows, name="split.jsonl"):
    file = tmp_path / name
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file


def pairs(answers, **fields):
    return [{"question": f"What is number {n}?", "answer": answer, **fields} for n, answer in enumerate(answers)]


WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu".split()  # noqa: SIM905
PROSE = [
    f"{' '.join(WORDS[n % 7 :])} and then {n} more words that explain at length what has to be done" for n in range(30)
]
INFERRED = {
    "labels": (["yes", "no", "maybe"] * 10, {"labels": ("maybe", "no", "yes")}, "yes", "perhaps"),
    "labels of one character": (["A", "B", "C", "D"] * 10, {"labels": ("A", "B", "C", "D")}, "A", "E"),
    "numbers": ([str(n * 37) for n in range(30)], {"pattern": r"[-+]?[0-9][0-9,]*(\.[0-9]+)?([eE][-+]?[0-9]+)?"}, "0.0", "x"),
    "lines": ([f"Status: {('ok', 'fault')[n % 2]}\nCode: X{n}" for n in range(30)], {}, "Code: X0\nStatus: ok", "Code: X0"),
    "a final line": ([f"{n} and {n} is {n + n}.\n#### {n + n}" for n in range(30)], {"take": r"(?m)^####\s*(.+)$"}, "so\n#### 0", "0"),
    "short texts": ([f"part {word} {n}" for n, word in enumerate(WORDS)], {}, "part alpha 0", "part"),
    "prose": (PROSE, {}, PROSE[0].upper(), "I do not know"),
    "json": ([json.dumps({"a": n, "b": ["x"]}) for n in range(30)], {}, '{"b": ["x"], "a": 0}', '{"a": 0}'),
    "json values": ([{"a": n} for n in range(30)], {}, '{"a": 0}', '{"a": "0"}'),
    "fenced json": ([f'```json\n{{"a": {n}}}\n```' for n in range(30)], {"code_fence": True}, '```\n{"a": 0}\n```', "```\n{}\n```"),
}  # fmt: skip


@pytest.mark.parametrize(("answers", "settings", "right", "wrong"), INFERRED.values(), ids=INFERRED)
def test_the_form_of_answers_is_inferred(tmp_path, answers, settings, right, wrong):
    pack, report = read_test_split(rows_file(tmp_path, pairs(answers)))
    assert not report.refused
    assert {name: getattr(pack.answer_settings, name) for name in settings} == settings
    grader = Grader.of(pack)
    assert grader.grade(pack.cases[0], right).is_exact
    assert not grader.grade(pack.cases[0], wrong).is_exact


def test_max_new_tokens_is_no_bound_for_the_expected_answers(tmp_path):
    pack, _ = read_test_split(rows_file(tmp_path, pairs(PROSE)))
    assert pack.domain.max_new_tokens >= max(map(len, PROSE)) / 2


def test_every_assistant_turn_is_a_case_with_what_stood_before_it(tmp_path):
    turns = [{"role": role, "content": f"{role} {n}"} for n in range(3) for role in ("user", "assistant")]
    file = rows_file(tmp_path, [{"messages": turns}, {"messages": [{"role": "user", "content": "x"}, turns[1]]}])
    pack, _ = read_test_split(file, ReadOptions(every_turn=True))
    assert [len(case.messages) for case in pack.cases] == [1, 3, 5, 1]
    assert [case.expected for case in pack.cases] == ["assistant 0", "assistant 1", "assistant 2", "assistant 0"]
    assert [case.cluster for case in pack.cases] == ["row-1", "row-1", "row-1", "row-2"]
    assert [case.id for case in pack.cases] == ["row-1-turn-1", "row-1-turn-2", "row-1-turn-3", "row-2-turn-1"]


def test_without_that_the_last_answer_is_asked_for(tmp_path):
    turns = [{"role": role, "content": f"{role} {n}"} for n in range(3) for role in ("user", "assistant")]
    pack, _ = read_test_split(rows_file(tmp_path, [{"messages": [*turns, {"role": "user", "content": "thanks"}]}]))
    assert [(len(case.messages), case.expected) for case in pack.cases] == [(5, "assistant 2")]


def test_fields_are_named_by_options(tmp_path):
    rows = [
        {"q": f"q{n}", "a": f"a{n}", "prompt": "no", "completion": "no", "g": f"k{n % 2}", "c": n // 2}
        for n in range(8)
    ]
    options = ReadOptions(question="q", answer="a", kind="g", cluster="c")
    pack, _ = read_test_split(rows_file(tmp_path, rows), options)
    assert [case.messages[-1].content for case in pack.cases] == [row["q"] for row in rows]
    assert Counter(case.kind for case in pack.cases) == {"k0": 4, "k1": 4}
    assert [case.cluster for case in pack.cases] == [str(n // 2) for n in range(8)]


def test_splits_are_taken_from_the_rows_and_are_final_otherwise(tmp_path):
    rows = pairs(["a", "b", "c"])
    for row, split in zip(rows, ["validation", "test", "train"], strict=True):
        row["split"] = split
    pack, report = read_test_split(rows_file(tmp_path, rows))
    assert [case.split for case in pack.cases] == ["dev", "final"]
    assert "trained on it" in report.refused[0].why
    assert {case.split for case in load_data(rows_file(tmp_path, pairs(["a", "b"]))).cases} == {"final"}


def test_a_number_of_cases_is_spread_over_the_file(tmp_path):
    pack, _ = read_test_split(rows_file(tmp_path, pairs([f"answer {n}" for n in range(100)])), ReadOptions(cases=4))
    assert [case.expected for case in pack.cases] == ["answer 0", "answer 25", "answer 50", "answer 75"]


def test_answers_to_the_same_question_are_all_right_in_free_text(tmp_path):
    rows = [*pairs(PROSE), {"question": "what is NUMBER 0?", "answer": PROSE[9]}]
    pack, report = read_test_split(rows_file(tmp_path, rows))
    assert pack.cases[0].one_of == (PROSE[0], PROSE[9])
    assert "put together" in report.refused[0].why


def test_a_context_stands_before_its_question_and_makes_a_cluster(tmp_path):
    rows = [{"context": f"Page {n // 3}.", "question": f"q{n}?", "answers": {"text": ["a", "an a"]}} for n in range(9)]
    pack, _ = read_test_split(rows_file(tmp_path, rows))
    assert pack.cases[0].messages[-1].content == "Page 0.\n\nq0?"
    assert pack.cases[0].one_of == ("a", "an a")
    assert len({case.cluster for case in pack.cases}) == 3


def test_the_language_of_the_questions_decides_about_padding_and_edge_cases(tmp_path):
    rows = [{"question": f"Was ist das für ein Fehler mit der Nummer {n}?", "answer": f"Teil {n}"} for n in range(20)]
    pack, _ = read_test_split(rows_file(tmp_path, rows))
    assert "Hafenmauer" in pack.padding
    assert any("WARUM" in case.messages[-1].content for case in pack.edge_cases)


def test_a_pack_is_not_written_over_something(tmp_path):
    pack, _ = read_test_split(rows_file(tmp_path, pairs(["a", "b"])))
    with pytest.raises(PackError, match="is not empty"):
        write_pack(pack, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["split.jsonl"]


REFUSED = {
    "a folder": (None, "is a folder", "--domain"),
    "empty": ("", "is empty", "give some questions"),
    "blank lines": ("\n \n", "is empty", "give some questions"),
    "preferences": ('{"prompt": "p", "chosen": "a", "rejected": "b"}', "preferences", "its fields are prompt, chosen, rejected"),
    "running text": ('{"text": "a page"}', "running text", "fields are text"),
    "unknown fields": ('{"foo": 1, "bar": 2}', "no question and answer that are known", "--question FIELD --answer FIELD"),
    "mixed formats": ('{"prompt": "p", "completion": "c"}\n{"instruction": "i", "output": "o"}', "mixes 1 rows of prompt and completion (line 1), 1 of Alpaca", "one file for each"),
    "most rows broken": ('{"prompt": "p", "completion": ""}\n{"prompt": "", "completion": "c"}\n{"prompt": "p", "completion": "c"}', "2 of 3 rows cannot be asked", "correct the rows"),
    "nothing but prose": ("Just a letter.\nBye.", "neither JSON nor a table", "CSV with the names of its columns"),
    "Parquet": (b"PAR1....", "is a Parquet file", "to_json"),
    "Excel": (b"PK\x03\x04....", "Excel workbook", "CSV UTF-8"),
    "damaged gzip": (b"\x1f\x8b\x08\x00", "damaged gzip", "again"),
    "Windows-1252": (b'{"prompt": "caf\xe9", "completion": "x"}', "not UTF-8 at byte 15", "save it as UTF-8"),
    "UTF-16 without a mark": ('{"prompt": "p"}'.encode("utf-16-le"), "null bytes", "save it as UTF-8"),
    "a list that breaks off": ('[\n{"prompt": "p", "completion": "c"},\n{"prompt": ', "not valid JSON", "line 3"),
    "an open quotation mark": ('question,answer\n"a,b\n', "not valid CSV", "quotation mark"),
    "a column twice": ("question,answer,answer\na,b,c\n", "'answer' stands twice", "line 1"),
    "no answers column": ("question,remark\na,b\n", "no question and answer", "its fields are question, remark"),
    "no rows below the header": ("question,answer\n", "no row that can be read", "first lines"),
    "choices that nobody sees": ('{"question": "Which?", "choices": ["a pump", "a fan"], "answer": 1}', "choices: are not in the question", "correct the rows"),
    "choices beside a prompt": ('{"prompt": "Which?", "options": {"label": ["A"], "text": ["a pump"]}, "completion": "A"}', "options: are not in the question", "correct the rows"),
    "expected beside messages": ('{"messages": [{"role": "user", "content": "q"}], "expected": {"a": 1}}', "a pack's own case has id and kind too", "correct the rows"),
    "numbers in lines": ("1\n2\n", "neither JSON nor a table", "JSON Lines"),
    "contradictions only": ('{"prompt": "p", "completion": "a"}\n{"prompt": "p", "completion": "b"}', "no question is left", "correct the rows"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "what", "way_out"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_cannot_be_asked_is_refused_with_a_way_out(tmp_path, content, what, way_out):
    file = tmp_path / "split"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PackError) as caught:
        read_test_split(file)
    assert what in str(caught.value)
    assert way_out in str(caught.value)
    assert str(file) in str(caught.value)


def test_half_a_character_is_refused(tmp_path):
    rows = [*pairs(["a", "b", "c"]), {"question": "\ud800?", "answer": "d"}, {"question": "e?", "answer": "\udc00"}]
    _, report = read_test_split(rows_file(tmp_path, rows))
    assert [(one.line, one.field) for one in report.refused] == [(4, "question"), (5, "answer")]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PackError, match="cannot be read"):
        read_test_split(tmp_path / "nowhere.jsonl")


ROW = {"prompt": "What is it?", "completion": "A pump."}
TAKEN = {
    "a JSON list": json.dumps([ROW, ROW]),
    "a list under data": json.dumps({"version": 1, "data": [ROW]}, indent=1),
    "objects over several lines": f"{json.dumps(ROW, indent=1)}\n{json.dumps({**ROW, 'prompt': 'And that?'}, indent=1)}",
    "UTF-16": json.dumps(ROW).encode("utf-16"),
    "a byte order mark and CRLF": b"\xef\xbb\xbf" + json.dumps(ROW).encode() + b"\r\n\r\n",
    "U+2028 inside of a text": json.dumps({**ROW, "prompt": "a\u2028b"}, ensure_ascii=False),
    "messages as a text in a table": 'messages,nr\n"' + json.dumps([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]).replace('"', '""') + '",1\n',
    "a list under data on one line": json.dumps({"data": [ROW]}),
    "rows of a viewer": json.dumps({"features": [], "rows": [{"row_idx": 0, "row": ROW, "truncated_cells": []}]}),
    "choices that the question shows": json.dumps({"question": "A) fan B) pump?", "choices": ["fan", "pump"], "answer": "B"}),
    "tabs": "Query\tLabel\nhow?\tso\n",
    "semicolons": "Question;Answer\nhow, when?;so\n",
    "parts of a text": json.dumps({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, {"role": "assistant", "content": "a"}]}),
    "the developer's role": json.dumps({"messages": [{"role": "developer", "content": "s"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}),
    "conversations with roles": json.dumps({"conversations": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}),
    "an answer that is JSON": json.dumps({"prompt": "q", "completion": {"a": 1}}),
    "a history": json.dumps({"instruction": "q", "output": "a", "history": [["x", "y"]]}),
    "a system field": json.dumps({"system": "s", "instruction": "q", "output": "a"}),
    "cases of a pack": json.dumps({"id": "a", "kind": "k", "messages": [{"role": "user", "content": "q"}], "pattern": "E[0-9]"}),
    "a number as answer": json.dumps({"question": "q", "answer": 42}),
    "lm-eval's older samples": json.dumps({"doc": {}, "target": "t", "arguments": [["p", {"until": []}]]}),
}  # fmt: skip


@pytest.mark.parametrize("content", TAKEN.values(), ids=TAKEN)
def test_an_odd_but_sound_file_is_taken(tmp_path, content):
    file = tmp_path / "split"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    pack, report = read_test_split(file)
    assert pack.cases
    assert all("asks what" in one.why for one in report.refused)


@pytest.mark.parametrize(
    ("field", "values", "is_cluster"),
    [
        ("source", 2, False),
        ("source", 30, True),
        ("conversation_id", 2, True),
        ("group", 40, True),
        ("passage", 9, True),
    ],
)
def test_a_column_that_says_where_rows_come_from_makes_no_clusters(tmp_path, field, values, is_cluster):
    rows = [{"question": f"q{n}?", "answer": f"a{n % 7}", field: f"s{n % values}"} for n in range(60)]
    pack, _ = read_test_split(rows_file(tmp_path, rows))
    assert [case.cluster for case in pack.cases][:1] == (["s0"] if is_cluster else [None])


BEFORE = {
    "Dolly": {"instruction": "Who was it?", "context": "Ann was it.", "response": "Ann", "category": "qa"},
    "BoolQ": {"question": "Who was it?", "passage": "Ann was it.", "answer": True},
    "a document": {"question": "Who was it?", "document": "Ann was it.", "answer": "Ann"},
}


@pytest.mark.parametrize("row", BEFORE.values(), ids=BEFORE)
def test_the_text_that_a_question_is_about_stands_before_it(tmp_path, row):
    pack, _ = read_test_split(rows_file(tmp_path, [row]))
    assert pack.cases[0].messages[-1].content == "Ann was it.\n\nWho was it?"


def test_the_name_of_a_document_and_a_context_in_the_question_are_not_put_before_it(tmp_path):
    rows = [
        {"question": "Who?", "document": "doc-1", "answer": "Ann"},
        {"question": "Ann was it. Who was it?", "context": "Ann was it.", "answer": "Bob"},
    ]
    pack, _ = read_test_split(rows_file(tmp_path, rows))
    assert [case.messages[-1].content for case in pack.cases] == ["Who?", "Ann was it. Who was it?"]


def test_fields_that_nothing_was_made_of_are_named(tmp_path):
    rows = [
        {
            "id": n,
            "question": f"q{n}?",
            "answer": "a",
            "hint": f"think of {n + 7}",
            "empty": None,
            "topic": "t",
        }
        for n in range(9)
    ]
    _, report = read_test_split(rows_file(tmp_path, rows))
    assert "not used: hint" in report.notes
    _, report = read_test_split(rows_file(tmp_path, [{"instruction": "Say", "input": "so", "output": "yes"}]))
    assert not [note for note in report.notes if note.startswith("not used")]
