"""How many of the domain's texts get other ids, and what these cost on the source model."""

import json

import numpy as np
import pytest

from harness.errors import InvalidPromptError
from harness.measure.tokenization import (
    COST_TEXTS,
    COST_TOKENS,
    METRIC,
    DomainText,
    TokenizationCost,
    differing_texts,
    measure_cost,
    measure_tokenization,
)
from harness.prompts.token_causes import REFUSED, TokenizerFile

TEXTS = [
    DomainText(kind="prompt", text="ab", ids=(97, 98)),
    DomainText(kind="prompt", text="a  b", ids=(97, 32, 32, 98)),
    DomainText(kind="answer", text="cd", ids=(99, 100)),
    DomainText(kind="text", text="ef", ids=(101, 102)),
]


class Runtime:
    """Tokens are characters, but for the texts that it is told to read otherwise; `None` is refused."""

    def __init__(self, **other):
        self._other = other

    def encode(self, text):
        ids = self._other.get(text, [ord(character) for character in text])
        if ids is None:
            raise InvalidPromptError("no")
        return ids


class Source:
    """Says 3 to 1 for token 0 behind an even number of tokens, 1 to 3 behind an odd one; then counts from the last."""

    context_length = 64
    end_ids = frozenset({0})

    def __init__(self):
        self.closed, self.read = 0, []

    def cursor(self, max_length):
        self.max_length = max_length
        return self

    def append(self, token_ids, *, keep):
        self.read.append(list(token_ids))
        row = [0.75, 0.25] if len(token_ids) % 2 == 0 else [0.25, 0.75]
        return np.log(np.array([row] * keep, np.float32))

    def generate(self, count, end_ids):
        assert len(self.read[-1]) + count <= self.max_length
        return [self.read[-1][-1]] * 3

    def close(self):
        self.closed += 1


@pytest.fixture
def tokenizer(tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {chr(i): i for i in range(128)}}}))
    return TokenizerFile.read(tmp_path / "tokenizer.json")


def test_a_runtime_that_reads_every_text_alike_has_a_rate_of_zero(tokenizer):
    found = measure_tokenization(TEXTS, differing_texts(TEXTS, Runtime(), tokenizer)).measurement
    assert (found.estimate(METRIC).value, found.estimate(METRIC).n) == (0.0, 4)
    assert found.details[METRIC] == "other token ids: 0 of 2 prompts, 0 of 1 answers, 0 of 1 texts"


def test_no_text_is_no_data_and_never_a_pass():
    assert measure_tokenization([], []).measurement.estimate(METRIC).value is None


def test_texts_that_differ_are_counted_with_kind_and_cause(tokenizer):
    differing = differing_texts(TEXTS, Runtime(**{"a  b": [97, 32, 98], "ef": None}), tokenizer)
    found = measure_tokenization(TEXTS, differing).measurement
    assert found.estimate(METRIC).value == 0.5
    told = found.details[METRIC]
    assert "other token ids: 1 of 2 prompts, 0 of 1 answers, 1 of 1 texts" in told
    assert REFUSED in told
    assert "'a  b': transformers has" in told
    assert "converting again changes nothing" in told


def cost(differing, tmp_path, source, digest="s"):
    return measure_cost(differing, lambda: source, source_digest=digest, versions={}, cache=tmp_path)


def test_the_cost_is_measured_on_the_source_model_and_kept(tokenizer, tmp_path):
    """Worked by hand: 3/4 against 1/4 is 0.75 ln 3 + 0.25 ln (1/3) = 0.5493 nats."""
    differing = differing_texts(TEXTS, Runtime(**{"a  b": [97, 32, 98], "cd": [99, 101]}), tokenizer)
    source = Source()
    costs = cost(differing, tmp_path, source)
    assert [one.kld_nats for one in costs] == pytest.approx([0.5493, 0.0], abs=1e-4)
    assert [one.is_same_answer for one in costs] == [True, False]
    assert cost(differing, tmp_path, source) == costs
    assert (source.closed, len(source.read)) == (1, 4)
    told = measure_tokenization(TEXTS, differing, costs).measurement.details[METRIC]
    assert "cost on the source model, 2 of them: 0.275 nats" in told
    assert "1 of 2 answers the same" in told


def test_what_is_refused_has_no_cost_and_nothing_is_asked(tokenizer, tmp_path):
    differing = differing_texts(TEXTS, Runtime(ef=None), tokenizer)
    source = Source()
    assert cost(differing, tmp_path, source) == []
    assert source.read == []


def test_a_long_text_is_read_from_its_end_and_many_are_sampled(tokenizer, tmp_path):
    texts = [DomainText(kind="text", text=f"{n:03}" * 40, ids=tuple(range(120))) for n in range(30)]
    source = Source()
    costs = cost(differing_texts(texts, Runtime(), tokenizer), tmp_path, source)
    assert len(costs) == COST_TEXTS
    assert max(map(len, source.read)) == source.context_length - COST_TOKENS - 1


def test_costs_are_samples_of_the_record(tokenizer):
    costs = [TokenizationCost(kind="prompt", text="a", kld_nats=0.1, is_same_answer=True)]
    differing = differing_texts(TEXTS, Runtime(ab=[1]), tokenizer)
    assert measure_tokenization(TEXTS, differing, costs).samples == {"tokenization_costs": costs}
