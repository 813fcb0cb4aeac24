"""Packs that look odd and are sound: each is taken, and nothing is told of them that is not so."""

import json

import pytest

from harness.grading.grade import Grader
from harness.pack.load import load_pack
from tests.conftest import SCHEMA
from tests.pack.test_misleading import FREE, HEAD, NINE, SWEEP, asked, case, domain, lines, schema, written

BOM = b"\xef\xbb\xbf"
MANY = [case(id=f"c{n}", messages=asked(f"part {n}?"), expected={"status": "ok", "part": str(n)}) for n in range(40)]


def many(*more):
    return lines(*MANY, *more)


def free(*rows, answer=""):
    return {**FREE, "cases_jsonl": lines(*rows), "domain_toml": domain(answer)}


def texts(*answers, **fields):
    return [case(id=f"c{n}", messages=asked(f"q{n}?"), expected=answer, **fields) for n, answer in enumerate(answers)]


def other_draft(name, **changes):
    return json.dumps({"$schema": name, **SCHEMA, **changes})


SOUND = {
    "a byte order mark in domain.toml": {"domain_toml": BOM + domain().encode()},
    "a byte order mark in cases.jsonl": {"cases_jsonl": BOM + many().encode()},
    "a byte order mark in the schema": {"response_schema_json": BOM + schema().encode()},
    "CRLF in cases.jsonl": {"cases_jsonl": many().replace("\n", "\r\n").encode()},
    "CRLF in domain.toml": {"domain_toml": domain().replace("\n", "\r\n").encode()},
    "line ends of an old Mac": {"cases_jsonl": many().replace("\n", "\r").encode()},
    "UTF-16 in cases.jsonl": {"cases_jsonl": many().encode("utf-16")},
    "UTF-16 in domain.toml": {"domain_toml": domain().encode("utf-16")},
    "blank lines between cases": {"cases_jsonl": many().replace("\n", "\n\n  \n")},
    "U+2028 inside of a question": {"cases_jsonl": many(case(id="x", messages=asked("a\u2028b")))},
    "an empty description": {"domain_toml": f'schema_version = 1\nname = "n"\nmax_new_tokens = 48\n{SWEEP}'},
    "no sweep": {"domain_toml": HEAD, "cases_jsonl": many()},
    "no optional file": {"edge_cases_jsonl": None, "texts_jsonl": None, "padding_txt": None, "cases_jsonl": many()},
    "a draft-07 schema": {"response_schema_json": other_draft("http://json-schema.org/draft-07/schema#", dependencies={"part": ["status"]})},
    "a draft-04 schema": {"response_schema_json": other_draft("http://json-schema.org/draft-04/schema#", definitions={"n": {"type": "number", "minimum": 0, "exclusiveMinimum": True}})},
    "a draft 2019-09 schema": {"response_schema_json": other_draft("https://json-schema.org/draft/2019-09/schema", unevaluatedProperties=False)},
    "a reference inside of the schema": {"response_schema_json": schema(**{"$defs": {"s": {"enum": ["ok", "out_of_scope"]}}, "properties": {"status": {"$ref": "#/$defs/s"}, "part": {}}})},
    "a reference by anchor": {"response_schema_json": schema(**{"$id": "https://example.invalid/x", "$defs": {"s": {"$anchor": "s", "type": "string"}}, "properties": {"status": {"$ref": "#s"}, "part": {}}})},
    "a reference that recurs": {"response_schema_json": schema(properties={"status": {}, "part": {}, "more": {"$ref": "#"}})},
    "a property that is called $ref": {"response_schema_json": schema(properties={"status": {}, "part": {}, "$ref": {"type": "string"}, "dependencies": {}})},
    "extensions in a schema": {"response_schema_json": schema(**{"x-owner": "us", "$comment": "c", "title": "t", "examples": [{"status": "ok"}]})},
    "a schema of any object": {"response_schema_json": '{"type": "object"}'},
    "a format that is kept": {"response_schema_json": schema(properties={"status": {}, "part": {}, "day": {"format": "date"}})},
    "free text": free(*texts(*[f"part {n}" for n in range(40)])),
    "an answer of one letter": free(*texts(*"ABCDEFGH" * 5)),
    "an answer that is a digit": free(*texts(*"01234567" * 5)),
    "an answer that looks like JSON's words": free(*texts(*["null", "true", "None", "no"] * 10)),
    "JSON values of every type": free(*texts(True, 1, 1.5, [1], {"a": None}, *range(40))),
    "a pattern for the length": free(*[case(id=f"c{n}", messages=asked(f"a longer question {n}?"), pattern="^.{1,9}$") for n in range(40)]),
    "a pattern with a look-ahead": free(*[case(id=f"c{n}", messages=asked(f"q{n}?"), pattern="(?i)^(?!.*sorry).*pump") for n in range(40)]),
    "keywords in another script": free(*[case(id=f"c{n}", messages=asked(f"q{n}?"), keywords=["水泵", "C++"]) for n in range(40)]),
    "several right answers": free(*[case(id=f"c{n}", messages=asked(f"q{n}?"), one_of=[f"yes {n}", {"ok": n}]) for n in range(40)]),
    "an empty object as one answer": free(*texts({}, *({"a": n} for n in range(40)))),
    "questions that differ by one sign": {"cases_jsonl": many(case(id="x", messages=asked("part 3!"), expected={"status": "out_of_scope"}))},
    "the same question behind another turn": {"cases_jsonl": many(case(id="x", messages=[*asked("hi"), {"role": "assistant", "content": "hello"}, *asked("part 3?")], expected={"status": "out_of_scope"}))},
    "the same question behind another system turn": {"cases_jsonl": many(case(id="x", messages=[{"role": "system", "content": "s"}, *asked("part 3?")], expected={"status": "out_of_scope"}))},
    "an empty question": {"cases_jsonl": many(case(id="x", messages=asked(""), expected={"status": "out_of_scope"}))},
    "ids in another script": {"cases_jsonl": many(case(id="Fall Ä / 1"))},
    "labels that hold each other": free(*texts(*["on", "only", "not on", "on off"] * 10), answer='[answer]\nlabels = ["on", "only", "not on", "on off"]\n'),
    "lines in one rule each": free(*texts(*({"A": "x", "B": str(n)} for n in range(40))), answer='[answer.lines]\nA = ["x", "y"]\nB = "[0-9]+"\n"C d" = { pattern = ".+", optional = true }\n'),
    "rules for nested fields": free(*texts(*({"a": {"b": n}, "c": ["x", "y"]} for n in range(40))), answer='[answer.fields]\n"a.b" = { compare = "number", tolerance = 0.5 }\nc = { compare = "set" }\n'),
    "one of several values in a field": {"cases_jsonl": lines(*texts(*({"status": ["ok", "out_of_scope"], "part": str(n)} for n in range(40)))), "domain_toml": domain('[answer.fields]\nstatus = { compare = "one_of" }\n')},
    "a form that allows only short texts": free(*texts(*[f"part {n}" for n in range(40)]), answer='[answer]\npattern = "(?s).{1,300}"\n'),
    "other thinking markers": free(*texts(*[f"part {n}" for n in range(40)]), answer='[answer]\nthinking = [["<t>", "</t>"], ["[T]", "[/T]"]]\ncode_fence = true\n').copy() | {"domain_toml": domain('[answer]\nthinking = [["<t>", "</t>"]]\n', head=HEAD.replace("48", "512"))},
    "braces in the template": {"domain_toml": domain(sweep='[length]\npadding_tokens = [0, 9]\ncases = 1\ntemplate = "{{x}} {padding} {question}"\n')},
    "a first step that is not zero": {"domain_toml": domain(sweep="[length]\npadding_tokens = [5, 9]\ncases = 1\n")},
    "an edge case without a message": {"edge_cases_jsonl": json.dumps({"id": "e", "kind": "k", "messages": [], "expect": "error"})},
    "other files in the folder": {},
}  # fmt: skip


@pytest.mark.parametrize("files", SOUND.values(), ids=SOUND)
def test_an_odd_but_sound_pack_is_taken_without_a_word(tmp_path, files):
    files = {"cases_jsonl": many(), "padding_txt": None, **files}
    folder = written(tmp_path, files)
    (folder / "README.md").write_text("ours")
    (folder / "notes.jsonl").write_text("{}")
    pack = load_pack(folder)
    assert [str(remark) for remark in pack.remarks] == []
    grader = Grader.of(pack)
    for one in pack.cases:
        assert not grader.grade(one, "zz zz").is_exact or one.pattern == "^.{1,9}$"
    assert pack.edge_cases
    assert pack.texts
    assert pack.padding


def test_nine_cases_are_few(tmp_path):
    assert "9 cases" in load_pack(written(tmp_path, {"cases_jsonl": lines(*NINE)})).remarks[0].what
