"""Packs that break or mislead: each is told when it is read, with file, line, field and a way out."""

import json

import pytest

from harness.errors import PackError
from harness.pack.load import load_pack
from harness.pack.tokens import diagnose_tokens
from tests.conftest import SCHEMA, write_pack

QUESTION = [{"role": "user", "content": "Which part is it?"}]
CASE = {"id": "a", "kind": "k", "messages": QUESTION, "expected": {"status": "ok"}}
HEAD = 'schema_version = 1\nname = "n"\ndescription = "d"\nmax_new_tokens = 48\n'
SWEEP = "[length]\npadding_tokens = [0, 9]\ncases = 1\n"


def case(**changes):
    row = {**CASE, **changes}
    if {"pattern", "keywords", "one_of"} & set(changes):
        row.pop("expected")
    return json.dumps(row, ensure_ascii=False)


def lines(*rows):
    return "\n".join(rows)


def asked(text):
    return [{"role": "user", "content": text}]


def domain(answer="", head=HEAD, sweep=SWEEP):
    return f"{head}{answer}{sweep}"


def schema(**changes):
    return json.dumps({**SCHEMA, **changes})


FREE = {"response_schema_json": None}
REFUSED = {
    # what a file is
    "a file that is no UTF-8": ({"cases_jsonl": case(id="é").encode("latin-1")}, "cases.jsonl, line 1", "not UTF-8 at byte", "save it as UTF-8"),
    "UTF-16 without its mark": ({"domain_toml": domain().encode("utf-16-be")}, "domain.toml", "null bytes", "save it as UTF-8"),
    "a workbook by another name": ({"cases_jsonl": b"PK\x03\x04"}, "cases.jsonl", "Excel workbook", "CSV"),
    "objects over several lines": ({"cases_jsonl": json.dumps(CASE, indent=1)}, "cases.jsonl, line 1", "over several lines", "on a line of its own"),
    "a comma behind a row": ({"cases_jsonl": case() + ",\n" + case(id="b")}, "cases.jsonl, line 1", "over several lines, or in a list", "without commas"),
    "a key twice": ({"cases_jsonl": '{"id": "a", "id": "b"}'}, "cases.jsonl, line 1", "a key stands twice", "correct that line"),
    "NaN in an answer": ({"cases_jsonl": '{"id": "a", "kind": "k", "expected": {"x": NaN}}'}, "cases.jsonl, line 1", "NaN is not JSON", "correct that line"),
    "padding without a word": ({"padding_txt": " \n"}, "padding.txt", "is empty", "leave the file out"),
    # criteria that cannot fail, or cannot be met
    "keywords that are empty": ({"cases_jsonl": case(keywords=[])}, "cases.jsonl, line 1", "keywords", "correct the field"),
    "a keyword that is blank": ({"cases_jsonl": case(keywords=["pump", " "])}, "cases.jsonl, line 1", "keywords: an empty text", "correct the field"),
    "an answer that is empty": ({"cases_jsonl": case(expected=" ")}, "cases.jsonl, line 1", "a refused prompt would meet it", "correct the field"),
    "one of nothing": ({"cases_jsonl": case(one_of=[])}, "cases.jsonl, line 1", "one_of", "correct the field"),
    "a pattern that is broken": ({"cases_jsonl": case(pattern="([0-9")}, "cases.jsonl, line 1", "pattern: pattern '([0-9' is not a regular expression", "correct the field"),
    "a pattern that all meet": ({"cases_jsonl": case(pattern="(?s).+")}, "cases.jsonl, line 1", "is met by every answer", "correct the field"),
    "a pattern that nothing meets too": ({"cases_jsonl": case(pattern="E[0-9]*|.*")}, "cases.jsonl, line 1", "met by an empty answer", "correct the field"),
    "nothing is asked": ({"cases_jsonl": case(messages=[*QUESTION, {"role": "assistant", "content": "A pump."}])}, "cases.jsonl, line 1", "the last turn is the assistant's", "correct the field"),
    "the system comes late": ({"cases_jsonl": case(messages=[*QUESTION, {"role": "system", "content": "s"}, *QUESTION])}, "cases.jsonl, line 1", "a system turn stands first", "correct the field"),
    "two answers to one question": ({"cases_jsonl": lines(case(), case(id="b", messages=asked(" which PART is it? "), expected={"status": "out_of_scope"}))}, "cases.jsonl, line 2", "with another answer: no model gets both right", "one_of"),
    "an answer that cannot be finished": ({"cases_jsonl": case(expected={"status": "ok", "part": "x" * 600})}, "cases.jsonl, line 1", "max_new_tokens = 48 cuts it off", "say max_new_tokens = "),
    "an answer of no label": ({**FREE, "domain_toml": domain('[answer]\nlabels = ["on", "off"]\n'), "cases_jsonl": case(expected="On")}, "cases.jsonl, line 1", "'On' is none of on, off", "correct the expected answer"),
    "an answer without a line": ({**FREE, "domain_toml": domain('[answer.lines]\nA = "x+"\nB = "y+"\n'), "cases_jsonl": case(expected={"A": "x"})}, "cases.jsonl, line 1", "the line 'B' is missing", "correct the expected answer"),
    "a text where JSON is asked for": ({"cases_jsonl": case(expected="ok")}, "cases.jsonl, line 1", "breaks response.schema.json: not JSON", "correct the expected answer"),
    "a placeholder": ({"cases_jsonl": case(messages=asked("REPLACE ME: a question"))}, "cases.jsonl, line 1", "still holds 'REPLACE ME'", "write a question of your domain"),
    # [answer]
    "two forms": ({"domain_toml": domain('[answer]\nlabels = ["on", "off"]\n')}, "domain.toml", "state two forms of an answer", "one form"),
    "labels twice": ({**FREE, "domain_toml": domain('[answer]\nlabels = ["on", "on "]\n')}, "domain.toml, line 6", "answer.labels: a label stands twice", "correct the field"),
    "a form that all meet": ({**FREE, "domain_toml": domain('[answer]\npattern = ".+"\n')}, "domain.toml, line 6", "met by every answer", "correct the field"),
    "a pattern with two groups": ({**FREE, "domain_toml": domain('[answer]\ntake = "(a)(b)"\n')}, "domain.toml, line 6", "name the one that is the answer", "correct the field"),
    "markers that are one": ({**FREE, "domain_toml": domain('[answer]\nthinking = [["<t>", "<t>"]]\n')}, "domain.toml, line 6", "must differ", "correct the field"),
    "a rule for a typo": ({"domain_toml": domain('[answer.fields]\nstatsu = { compare = "exact" }\n')}, "domain.toml", "answer.fields.statsu: no case expects such a field (did you mean 'status'?)", "expected are status"),
    "a number that is a text": ({"domain_toml": domain('[answer.fields]\nstatus = { compare = "number" }\n')}, "cases.jsonl, line 1", "expected.status: [answer.fields.status] compare = 'number' needs a number", "or the rule"),
    "a rule that compares nothing": ({"domain_toml": domain('[answer.fields]\nstatus = { compare = "any" }\n'), "cases_jsonl": case()}, "cases.jsonl, line 1", "compares none of its fields", "compare at least one"),
    "a tolerance without a number": ({"domain_toml": domain('[answer.fields]\nstatus = { tolerance = 1 }\n')}, "domain.toml, line 6", "a tolerance is for compare = 'number'", "correct the field"),
    "a number as text that is none": ({**FREE, "domain_toml": domain('[answer.whole]\ncompare = "number"\n'), "cases_jsonl": case(expected="1.234,5")}, "cases.jsonl, line 1", "needs a number as text", "1234.5"),
    # the schema
    "a schema that accepts all": ({"response_schema_json": '{"title": "t"}'}, "response.schema.json", "accepts every JSON value", "correct the schema"),
    "a schema without a type": ({"response_schema_json": '{"properties": {"a": {"type": "string"}}}'}, "response.schema.json", "accepts every JSON value: give at least type, and required", "correct the schema"),
    "a schema that is true": ({"response_schema_json": "true"}, "response.schema.json", "a JSON object, not true", "correct the schema"),
    "a dialect of nobody": ({"response_schema_json": schema(**{"$schema": "https://example.invalid/draft"})}, "response.schema.json, line 1", "no dialect that is obeyed", "correct the schema"),
    "a keyword of an older dialect": ({"response_schema_json": schema(dependencies={"part": ["status"]})}, "response.schema.json, line 1", "dependencies: is a keyword of another dialect", "correct the schema"),
    "a keyword of a newer dialect": ({"response_schema_json": schema(**{"$schema": "http://json-schema.org/draft-07/schema#", "dependentRequired": {}})}, "response.schema.json, line 1", "dependentRequired: is a keyword of another dialect", "correct the schema"),
    "a keyword with a slip": ({"response_schema_json": schema(additionalProperty=False)}, "response.schema.json, line 1", "did you mean 'additionalProperties'", "correct the schema"),
    "a reference to nowhere": ({"response_schema_json": schema(properties={"status": {"$ref": "#/$defs/status"}})}, "response.schema.json, line 1", "leads nowhere in this file", "correct the schema"),
    "a reference to the network": ({"response_schema_json": schema(properties={"status": {"$ref": "https://example.invalid/s.json"}})}, "response.schema.json, line 1", "nothing is fetched", "correct the schema"),
    "a reference to itself": ({"response_schema_json": '{"$ref": "#"}'}, "response.schema.json", "refers to itself without end", "correct the schema"),
    "a pattern of another language": ({"response_schema_json": schema(properties={"status": {"pattern": "^\\p{L}+$"}})}, "response.schema.json, line 1", "not a JSON Schema", "correct the schema"),
    "an old draft's own rule": ({"response_schema_json": json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "dependencies": {"status": ["why"]}})}, "cases.jsonl, line 1", "'why' is a dependency of 'status'", "correct the expected answer"),
    "a format that is not kept": ({"response_schema_json": json.dumps({"type": "object", "properties": {"status": {"format": "date"}}}), "cases_jsonl": case()}, "cases.jsonl, line 1", "'ok' is not a 'date'", "correct the expected answer"),
    # edge cases and sweep
    "nothing to repeat": ({"edge_cases_jsonl": json.dumps({"id": "e", "kind": "k", "messages": asked(""), "expect": "error", "over_context": True})}, "edge_cases.jsonl, line 1", "nothing to repeat", "correct the field"),
    "an answer over the context": ({"edge_cases_jsonl": json.dumps({"id": "e", "kind": "k", "messages": asked("x"), "expect": "answer", "over_context": True})}, "edge_cases.jsonl, line 1", "over_context needs expect = error", "correct the field"),
    "a template with other braces": ({"domain_toml": domain(sweep='[length]\ntemplate = "{padding} {question} {\\"a\\": 1}"\n')}, "domain.toml, line", "nothing else in braces", "correct the field"),
    "a blank text": ({"texts_jsonl": json.dumps({"id": "t", "text": " "})}, "texts.jsonl, line 1", "text: is blank", "correct the field"),
}  # fmt: skip


def written(folder, files):
    """The small pack with other files: bytes as they are, None for a file that is not there."""
    texts = {name: content for name, content in files.items() if isinstance(content, str)}
    write_pack(folder, **texts)
    for key, content in files.items():
        name = (
            key.replace("_", ".")
            if key in ("domain_toml", "padding_txt", "response_schema_json")
            else key.replace("_jsonl", ".jsonl")
        )
        if content is None:
            (folder / name).unlink()
        elif isinstance(content, bytes):
            (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(("files", "where", "what", "way_out"), REFUSED.values(), ids=REFUSED)
def test_a_pack_that_cannot_be_right_is_refused(tmp_path, files, where, what, way_out):
    with pytest.raises(PackError) as caught:
        load_pack(written(tmp_path, files))
    assert where in str(caught.value)
    assert what in str(caught.value)
    assert way_out in str(caught.value)


NINE = [case(id=f"c{n}", messages=asked(f"part {n}?"), expected={"status": "ok", "part": str(n)}) for n in range(9)]
TOLD = {
    "a question in both splits": ({"cases_jsonl": lines(*NINE, case(id="x", split="final", messages=asked("Part  3?"), expected={"status": "ok", "part": "3"}))}, "cases.jsonl, lines 4, 10", "stand in dev and in final", "delete them from one"),
    "a question twice": ({"cases_jsonl": lines(*NINE, case(id="x", messages=asked("part 3?"), expected={"status": "ok", "part": "3"}))}, "cases.jsonl, lines 4, 10", "stand more than once", "keep one"),
    "one answer to all": ({"cases_jsonl": lines(*(case(id=f"c{n}", messages=asked(f"part {n}?")) for n in range(9)))}, "cases.jsonl", "9 of 9 cases expect", "other answers"),
    "few cases": ({}, "cases.jsonl", "9 cases: even if all are right, the rate may be as low as 70 %", "at least 30"),
    "many cases": ({"cases_jsonl": lines(*(case(id=f"c{n}", messages=asked(f"part {n}?"), expected={"status": "ok", "part": str(n)}) for n in range(2001)))}, "cases.jsonl", "2001 cases: every variant is asked", "--cases 500"),
    "an echo passes": ({"cases_jsonl": lines(*NINE, case(id="x", keywords=["part"], messages=asked("Which part?")))}, "cases.jsonl, line 10", "repeats the question meets them", "what only the answer holds"),
    "out of scope by another name": ({"cases_jsonl": lines(*NINE, case(id="x", kind="Out-of-Scope"))}, "cases.jsonl, line 10", "did you mean 'out_of_scope'", "call it out_of_scope"),
    "nothing in scope": ({"cases_jsonl": case(kind="out_of_scope", expected={"status": "out_of_scope"})}, "cases.jsonl", "exact_match_rate has no data", "the model is for"),
    "a wrong encoding": ({"cases_jsonl": lines(*NINE, case(id="x", messages=asked("KÃ¼hlschrank?")))}, "cases.jsonl, line 10", "a wrong encoding leaves", "export the texts again"),
    "a template in the text": ({"cases_jsonl": lines(*NINE, case(id="x", messages=asked("<|im_start|>user\nE4?")))}, "cases.jsonl, line 10", "markers of a chat template", "bare text"),
    "JSON in quotation marks": ({**FREE, "cases_jsonl": lines(*NINE, case(id="x", expected='{"status": "ok"}'))}, "cases.jsonl, line 10", "JSON written as a text", "without quotation marks"),
    "an answer that is probably cut": ({"cases_jsonl": case(expected={"status": "ok", "part": "x" * 200})}, "cases.jsonl, line 1", "has probably", "max_new_tokens = "),
    "no room behind a thinking part": ({"domain_toml": domain("[answer]\nthinking = true\n")}, "domain.toml", "may end it", "give room for both"),
    "padding that comes again": ({"domain_toml": domain(sweep="[length]\npadding_tokens = [0, 4000]\ncases = 1\n")}, "padding.txt", "is repeated", "leave the file out"),
    "more cases than there are": ({"domain_toml": domain(sweep="[length]\ncases = 20\n")}, "domain.toml", "length.cases = 20, and 8", "lower it"),
    "an unchecked format": ({"response_schema_json": json.dumps({**SCHEMA, "properties": {**SCHEMA["properties"], "at": {"format": "date-time"}}})}, "response.schema.json", "format 'date-time': what this asks of answers is not checked", "such as pattern"),
    "an unknown keyword": ({"response_schema_json": schema(nullable=True)}, "response.schema.json", "nullable: what this asks", "keyword of JSON Schema"),
    "a draft": ({"domain_toml": "draft = true\n" + domain()}, "domain.toml", "nobody has confirmed it", "delete `draft = true`"),
}  # fmt: skip


@pytest.mark.parametrize(("files", "where", "what", "way_out"), TOLD.values(), ids=TOLD)
def test_a_pack_that_says_less_than_it_seems_to_is_told(tmp_path, files, where, what, way_out):
    found = [remark for remark in load_pack(written(tmp_path, files)).remarks if what in remark.what]
    assert len(found) == 1
    assert where in found[0].where
    assert way_out in found[0].next_step


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("texts.jsonl", "text.jsonl"),
        ("texts.jsonl", "texts.json"),
        ("edge_cases.jsonl", "edge-cases.jsonl"),
        ("edge_cases.jsonl", "edge_cases.jsonl.txt"),
        ("response.schema.json", "schema.json"),
        ("response.schema.json", "response_schema.json"),
        ("padding.txt", "Padding.md"),
    ],
)
def test_a_file_under_another_name_is_told(pack_folder, name, wrong):
    (pack_folder / name).rename(pack_folder / wrong)
    remark = next(remark for remark in load_pack(pack_folder).remarks if "is not read" in remark.what)
    assert remark.where == str(pack_folder / wrong)
    assert remark.next_step.startswith(f"call it {name} ")


def test_everything_that_is_wrong_is_told_at_once(tmp_path):
    broken = written(
        tmp_path,
        {
            "cases_jsonl": lines(case(keywords=[]), case(id="b"), "{"),
            "response_schema_json": "{}",
            "domain_toml": "x = 1",
        },
    )
    with pytest.raises(PackError) as caught:
        load_pack(broken)
    message = str(caught.value)
    assert "4 things are wrong" in message
    for part in ("domain.toml", "response.schema.json", "cases.jsonl, line 1", "cases.jsonl, line 3"):
        assert part in message


def test_all_missing_files_are_told_at_once_with_what_is_optional(tmp_path):
    with pytest.raises(PackError) as caught:
        load_pack(tmp_path)
    message = str(caught.value)
    assert "has no domain.toml and no cases.jsonl" in message
    for optional in ("response.schema.json", "edge_cases.jsonl", "texts.jsonl", "padding.txt"):
        assert f"{optional}: " in message


def test_a_file_in_place_of_a_folder_gets_the_right_advice(tmp_path):
    file = tmp_path / "split.jsonl"
    file.touch()
    with pytest.raises(PackError, match="--data FILE"):
        load_pack(file)


def words(text):
    return text.split()


def characters(text):
    return list(text)


def test_with_a_tokenizer_an_answer_that_is_cut_is_refused(pack_folder):
    pack = load_pack(pack_folder)
    small = pack.model_copy(update={"domain": pack.domain.model_copy(update={"max_new_tokens": 20})})
    with pytest.raises(PackError, match="has 27 tokens with its end"):
        diagnose_tokens(small, characters, 2048)


def test_with_a_tokenizer_a_question_without_room_for_its_answer_is_refused(pack_folder):
    with pytest.raises(PackError, match="has no room for its answer"):
        diagnose_tokens(load_pack(pack_folder), characters, 30)


def test_with_a_tokenizer_steps_without_room_and_repeated_padding_are_told(tmp_path):
    sweep = "[length]\npadding_tokens = [0, 40, 1990]\ncases = 1\n"
    pack = load_pack(write_pack(tmp_path, domain_toml=domain(sweep=sweep)))
    told = [str(remark) for remark in diagnose_tokens(pack, words, 2048)]
    assert "1990 leave no room in the context of 2048" in told[0]
    assert "12 tokens, of which length.padding_tokens makes 1990" in told[1]
