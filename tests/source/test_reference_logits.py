"""What the source says: asked for once, kept by content, never half believed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.errors import ChildError, SourceError
from harness.prompts.corpus import corpus
from harness.source import reference_logits as module
from harness.source.reference_logits import ReferenceLogits
from harness.source.source import resolve_source
from harness.toolchain.toolchain import PINS, Toolchain
from harness.toolchain.workspace import Workspace


class Model:
    """Answers in transformers' place; `reason` makes it fail."""

    def __init__(self):
        self.jobs, self.reason = [], None

    def run(self, command, job, *, log, timeout_s, progress, env):
        self.jobs.append([part["kind"] for part in job["parts"]])
        for part in job["parts"]:
            if self.reason:
                Path(f"{part['file']}.error").write_text(self.reason)
            elif part["kind"] == "tokens":
                Path(part["file"]).write_text(json.dumps({"texts": part["texts"], "ids": []}))
            else:
                np.save(part["file"], np.zeros((len(part["positions"]), 8), np.float32))
        return {}


@pytest.fixture
def model(monkeypatch):
    made = Model()
    monkeypatch.setattr(module, "run_job", made.run)
    return made


@pytest.fixture
def stub_toolchain(tmp_path):
    return Toolchain(python=tmp_path / "python", versions=PINS)


@pytest.fixture
def make(toy_source, tmp_path, stub_toolchain):
    return lambda **options: ReferenceLogits(
        resolve_source(str(toy_source)), Workspace(cache=tmp_path / "cache", toolchain=stub_toolchain), **options
    )


def test_it_is_asked_for_once(make, model):
    make().ensure()
    make().ensure()
    reference_logits = make(with_logits=True)
    assert reference_logits.missing() == ["logits"]
    reference_logits.ensure()
    assert reference_logits.logits().shape == (63, 8)
    assert reference_logits.logits("base") is None
    assert model.jobs == [["tokens"], ["logits"]]


def test_another_source_or_transformers_is_asked_anew(make, model, stub_toolchain, toy_source, tmp_path):
    first = make()
    first.ensure()
    other = Toolchain(python=stub_toolchain.python, versions={**PINS, "transformers": "9"})
    newer = ReferenceLogits(first.source, Workspace(cache=tmp_path / "cache", toolchain=other))
    assert newer.missing() == ["tokens"]
    (toy_source / "tokenizer_config.json").write_text('{"a": 1}')
    changed = make()
    assert changed.missing() == ["tokens"]
    assert len({first.digest, newer.digest, changed.digest}) == 3


def test_a_damaged_answer_is_asked_for_again(make, model):
    reference_logits = make()
    reference_logits.ensure()
    reference_logits.tokens_file().write_text("{}")
    assert reference_logits.missing() == ["tokens"]


def test_a_source_that_transformers_cannot_load_says_why(make, model):
    model.reason = "ValueError: unknown model\nmore"
    with pytest.raises(SourceError, match="transformers cannot use the model: ValueError: unknown model"):
        make().ensure()
    assert make().missing() == ["tokens"]


def test_a_worker_that_dies_is_the_sources_error(make, monkeypatch):
    def die(*_, **__):
        raise ChildError("a child process was killed by SIGKILL (out of memory?)")

    monkeypatch.setattr(module, "run_job", die)
    with pytest.raises(SourceError, match="SIGKILL"):
        make().ensure()


def test_short_and_long_positions_fit_the_context(make, toy_source):
    reference_logits = make()
    assert len(reference_logits.sequence) == 63  # one token of the context is left for the answer
    assert max(reference_logits.sequence) < 8
    assert reference_logits.positions[: reference_logits.short_count] == tuple(range(31))
    config = toy_source / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "max_position_embeddings": 32768}))
    longer = make()
    assert len(longer.sequence) == 1024
    assert longer.positions == (*range(48), *range(976, 1024))
    assert longer.short_count == 48


@pytest.mark.parametrize(
    ("settings", "length"),
    [
        ({"rope_parameters": {"rope_type": "longrope", "original_max_position_embeddings": 4096}}, 4144),
        ({"rope_scaling": {"type": "su"}, "original_max_position_embeddings": 4096}, 4144),
        ({"rope_parameters": {"rope_type": "longrope", "original_max_position_embeddings": 256}}, 1024),
        ({"rope_parameters": {"rope_type": "yarn", "original_max_position_embeddings": 4096}}, 1024),
        ({"rope_parameters": None}, 1024),
    ],
)
def test_a_second_rotary_table_is_reached(make, toy_source, settings, length):
    config = toy_source / "config.json"
    stretched = {**json.loads(config.read_text()), "max_position_embeddings": 32768, **settings}
    config.write_text(json.dumps(stretched))
    assert len(make().sequence) == length


@pytest.mark.parametrize(
    ("settings", "start"),
    [
        ({}, 48),
        ({"sliding_window": 512}, 507),
        ({"sliding_window": 512, "use_sliding_window": False}, 48),
        ({"sliding_window": 4096}, 48),  # beyond what is asked
        ({"rope_parameters": {"rope_type": "longrope", "original_max_position_embeddings": 4096}}, 4091),
        ({"max_position_embeddings": 30}, 14),
        ({"max_position_embeddings": 8}, 1),
        ({"max_position_embeddings": 3}, 1),
    ],
)
def test_an_answer_begins_where_its_second_half_is_behind_a_change(make, toy_source, settings, start):
    config = toy_source / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "max_position_embeddings": 32768, **settings}))
    assert make().answer_start == start


@pytest.mark.parametrize(
    "settings",
    [
        {"rope_scaling": "yarn"},
        {"rope_parameters": {"rope_type": "longrope", "original_max_position_embeddings": "abc"}},
        {"sliding_window": "4k"},
    ],
)
def test_lengths_and_tables_that_are_none_are_told(make, toy_source, settings):
    config = toy_source / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **settings}))
    with pytest.raises(SourceError, match=r"is not an object|is not a whole number"):
        make()


def test_the_corpus_has_every_kind_of_text_and_the_sources_control_tokens(make, toy_source, tmp_path):
    tokens = {"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 1, "content": "<|end|>"}]}
    (toy_source / "tokenizer.json").write_text(json.dumps(tokens))
    texts = make().job(["tokens"], tmp_path / "job")[0]["texts"]
    assert {text.text for text in corpus()} < set(texts)
    assert "<|end|>" in texts
    everything = "".join(texts)
    assert any(ord(character) > 0xFFFF for character in everything)
    assert all(character in everything for character in "\t\r\n 0123456789")


def test_a_candidate_with_a_shorter_context_is_asked_no_more_than_it_takes(make):
    assert [len(make(longest=longest).sequence) for longest in (None, 20, 1000)] == [63, 19, 63]


def test_every_token_is_one_that_the_base_knows_too(make, toy_source):
    base = replace(resolve_source(str(toy_source)), vocabulary_size=3)
    assert max(make(base=base, with_logits=True).sequence) == 2
    assert max(make().sequence) > 2
