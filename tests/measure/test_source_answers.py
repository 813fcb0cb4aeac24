"""The source model is asked once: by a second run nothing, by a pack with a new case that one."""

import json
import sqlite3

import pytest

from harness.measure.source_answers import measure_source_answers
from harness.pack.load import load_pack
from harness.runtime.fake import FakeSession
from tests.conftest import write_pack
from tests.measure.test_divergence import scores


@pytest.fixture
def measure(bare_workspace):
    """Measures a pack with a toy model, and says what the cache then has of its answers."""

    def run(pack, source_digest="a" * 64):
        found = measure_source_answers(
            lambda: FakeSession(lambda _: "x", context_length=4096, score=scores(1)),
            pack,
            bare_workspace,
            source_digest=source_digest,
            precision="float32",
        )
        rows = {}
        for file in (bare_workspace.cache / "answers").glob("*.db"):
            with sqlite3.connect(file) as connection:
                kept = connection.execute("SELECT key, rowid FROM rows").fetchall()
            rows |= {(file.name, key): rowid for key, rowid in kept}
        return found, rows

    return run


def pack_of(folder, count):
    cases = [
        {"id": f"c{n}", "kind": "part", "messages": [{"role": "user", "content": f"part {n}?"}],
         "expected": {"status": "ok", "part": str(n)}}
        for n in range(count)
    ]  # fmt: skip
    return load_pack(write_pack(folder, cases_jsonl="\n".join(map(json.dumps, cases))))


def test_a_new_case_costs_one_answer(measure, tmp_path):
    first, rows = measure(pack_of(tmp_path / "one", 12))
    again, same = measure(pack_of(tmp_path / "one again", 12))
    assert (first.was_reused, again.was_reused) == (False, True)
    assert same == rows
    assert again.answers == first.answers
    more, grown = measure(pack_of(tmp_path / "two", 13))
    assert rows.items() <= grown.items()  # none was written a second time
    assert {one.case_id for one in more.answers} - {one.case_id for one in first.answers} == {"c12"}
    new_prompts = set(more.drafts) - set(first.drafts)
    assert len(grown) - len(rows) == len(new_prompts) >= 1


def test_another_model_is_asked_itself(measure, tmp_path):
    pack = pack_of(tmp_path / "pack", 8)
    _, rows = measure(pack)
    other, grown = measure(pack, source_digest="b" * 64)
    assert not other.was_reused
    assert len(grown) == 2 * len(rows)
