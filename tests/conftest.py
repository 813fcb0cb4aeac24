"""What several test folders share."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = {
    "type": "object",
    "properties": {"status": {"enum": ["ok", "out_of_scope"]}, "part": {"type": "string"}},
    "required": ["status"],
    "additionalProperties": False,
}


def write_pack(folder: Path, **replace: str) -> Path:
    """A small valid domain pack; `replace` puts other text into a file (dots and dashes as underscores)."""
    cases = [
        {"id": f"case-{n}", "kind": "part", "split": "dev" if n % 2 else "final",
         "messages": [{"role": "user", "content": f"part {n}?"}], "expected": {"status": "ok", "part": str(n)}}
        for n in range(8)
    ]  # fmt: skip
    declined = {"status": "out_of_scope"}
    cases.append(
        {
            "id": "oos-1",
            "kind": "out_of_scope",
            "messages": [{"role": "user", "content": "weather?"}],
            "expected": declined,
        }
    )
    edges = [
        {"id": "empty", "kind": "empty", "messages": [{"role": "user", "content": ""}], "expect": "answer"},
        {
            "id": "over",
            "kind": "over_context",
            "messages": [{"role": "user", "content": "long "}],
            "expect": "error",
            "over_context": True,
        },
    ]
    files = {
        "domain_toml": 'schema_version = 1\nname = "parts"\ndescription = "d"\nmax_new_tokens = 48\n[length]\npadding_tokens = [0, 40]\ncases = 4\n',
        "cases_jsonl": "\n".join(map(json.dumps, cases)),
        "edge_cases_jsonl": "\n".join(map(json.dumps, edges)),
        "texts_jsonl": json.dumps({"id": "t1", "text": "the pump is part 1"}),
        "response_schema_json": json.dumps(SCHEMA),
        "padding_txt": "unrelated words about the sea and the wind that mean nothing here",
        **replace,
    }
    names = {
        name.replace(".", "_"): name
        for name in (
            "domain.toml",
            "cases.jsonl",
            "edge_cases.jsonl",
            "texts.jsonl",
            "response.schema.json",
            "padding.txt",
        )
    }
    folder.mkdir(parents=True, exist_ok=True)
    for key, text in files.items():
        (folder / names[key]).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def pack_folder(tmp_path):
    return write_pack(tmp_path / "pack")
