import json

import pytest

from harness.errors import PackError
from harness.pack.load import load_pack
from tests.conftest import write_pack

CASE = {"id": "a", "kind": "k", "messages": [{"role": "user", "content": "x"}], "expected": {"status": "ok"}}


def case(**changes):
    return json.dumps({**CASE, **changes})


def test_a_good_pack_loads(pack_folder):
    pack = load_pack(pack_folder)
    assert len(pack.cases) == 9
    assert pack.conversation(pack.cases[0].messages) == [{"role": "user", "content": "part 0?"}]


def test_the_system_prompt_is_put_in_front_once(tmp_path):
    toml = 'schema_version = 1\nname = "n"\ndescription = "d"\nmax_new_tokens = 4\nsystem_prompt = "be brief"\n[length]\npadding_tokens = [0, 9]\ncases = 1\n'
    pack = load_pack(write_pack(tmp_path, domain_toml=toml))
    once = pack.conversation(pack.cases[0].messages)
    assert [message["role"] for message in once] == ["system", "user"]


def test_the_digest_follows_the_content(tmp_path):
    first = load_pack(write_pack(tmp_path / "a")).digest
    assert load_pack(write_pack(tmp_path / "b")).digest == first
    assert load_pack(write_pack(tmp_path / "c", padding_txt="other words")).digest != first


FAULTS = {
    "unknown field": ("cases_jsonl", case() + "\n" + case(id="b", expectd=1), "cases.jsonl, line 2", "did you mean 'expected'"),
    "not JSON": ("cases_jsonl", "{", "cases.jsonl, line 1", "not valid JSON"),
    "no messages": ("cases_jsonl", case(messages=[]), "cases.jsonl, line 1", "messages"),
    "wrong role": ("cases_jsonl", case(messages=[{"role": "bot", "content": ""}]), "line 1", "messages.0.role"),
    "two criteria": ("cases_jsonl", case(pattern="x"), "line 1", "exactly one of expected, one_of, pattern and keywords"),
    "no criterion": ("cases_jsonl", case(expected=None), "line 1", "exactly one of"),
    "twice the same id": ("cases_jsonl", case() + "\n\n" + case(), "line 3", "stands on line 1 too"),
    "expected breaks the schema": ("cases_jsonl", case(expected={"status": "no"}), "line 1", "breaks response.schema.json"),
    "no rows": ("texts_jsonl", "\n", "texts.jsonl", "leave the file out"),
    "schema is no schema": ("response_schema_json", '{"type": 3}', "response.schema.json", "not a JSON Schema"),
    "lengths fall": ("domain_toml", 'schema_version = 1\nname = "n"\ndescription = "d"\nmax_new_tokens = 4\n[length]\npadding_tokens = [9, 0]\ncases = 1\n', "domain.toml", "ascend"),
    "unknown setting": ("domain_toml", 'schema_version = 1\nname = "n"\ndescription = "d"\nmax_new_token = 4\n', "domain.toml, line 4", "did you mean 'max_new_tokens'"),
}  # fmt: skip


@pytest.mark.parametrize(("file", "text", "where", "message"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named_with_file_line_and_field(tmp_path, file, text, where, message):
    with pytest.raises(PackError) as caught:
        load_pack(write_pack(tmp_path, **{file: text}))
    assert where in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize("missing", ["domain.toml", "cases.jsonl"])
def test_a_missing_file_is_named(pack_folder, missing):
    (pack_folder / missing).unlink()
    with pytest.raises(PackError, match=f"has no {missing}"):
        load_pack(pack_folder)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(PackError, match="no such domain pack"):
        load_pack(tmp_path / "nowhere")


def test_free_text_needs_no_schema(pack_folder):
    (pack_folder / "response.schema.json").unlink()
    assert load_pack(pack_folder).response_schema is None
