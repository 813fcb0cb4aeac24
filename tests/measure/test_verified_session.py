"""Answers are the model's own, read from drafts where there are some, and asked once."""

import pytest

from harness.errors import InvalidPromptError
from harness.measure.verified_session import CALIBRATED, VerifiedSession
from harness.system.rows import KeptRows
from tests.runtime.test_verified import END, ToyCursor, own_answer

LIMIT = 10


class ToySession:
    """A toy model whose words are its tokens."""

    name, context_length, end_ids, is_steppable = "toy", 40, END, True

    def __init__(self, wobble=0.0):
        self.wobble, self.cursors = wobble, []

    def render(self, messages):
        return messages[-1]["content"]

    def encode(self, text):
        if text == "no":
            raise InvalidPromptError("the tokenizer refused the text")
        return [int(word) for word in text.split()]

    def decode(self, token_ids):
        return " ".join(map(str, token_ids))

    def cursor(self, max_length):
        self.cursors.append(ToyCursor(self.wobble))
        return self.cursors[-1]

    @property
    def read(self):
        return sum(cursor.read for cursor in self.cursors)


def ask(prompt):
    return [{"role": "user", "content": " ".join(map(str, prompt))}]


PROMPTS = [(1 + a, 1 + b, 2) for a in range(6) for b in range(6)]


def expected(prompt, wobble=0.0):
    tokens = own_answer(list(prompt), LIMIT, wobble)
    return tuple(tokens[:-1] if tokens[-1] in END else tokens)


@pytest.mark.parametrize("wobble", [0.0, 0.1])
@pytest.mark.parametrize("draft", ["own", "none", "wrong"])
def test_every_answer_is_the_models_own(draft, wobble):
    drafts = {"own": {p: tuple(own_answer(list(p), LIMIT, wobble)) for p in PROMPTS}, "none": {}}
    drafts["wrong"] = dict.fromkeys(PROMPTS, (1, 2, 3, 0))
    session = VerifiedSession(inner=ToySession(wobble), drafts=drafts[draft])
    found = session.answer_many([ask(prompt) for prompt in PROMPTS], max_new_tokens=LIMIT)
    assert [answer.token_ids for answer in found] == [expected(prompt, wobble) for prompt in PROMPTS]
    assert (session.drift > 0) == (wobble > 0)


def test_nothing_is_asked_twice(tmp_path):
    def session(model="a"):
        return VerifiedSession(inner=ToySession(), rows=KeptRows(tmp_path / "rows.db"), model=model)

    first = session()
    said = first.answer_many([ask(prompt) for prompt in PROMPTS], max_new_tokens=LIMIT)
    again = session()
    assert again.answer_many([ask(prompt) for prompt in PROMPTS], max_new_tokens=LIMIT) == said
    assert (first.asked, again.asked, again.inner.read) == (len(PROMPTS), 0, 0)
    more = session()
    more.answer_many([ask(prompt) for prompt in [*PROMPTS, (5, 5, 5)]], max_new_tokens=LIMIT)
    assert more.asked == 1
    assert session("b").answer_many([ask(PROMPTS[0])], max_new_tokens=LIMIT)
    other = session("b")
    other.answer_many([ask(PROMPTS[0])], max_new_tokens=LIMIT - 1)
    assert other.asked == 1  # another limit is another question


def test_an_interrupted_run_goes_on_where_it_was(tmp_path):
    class Killed(Exception):
        pass

    def stop(done, _total):
        if done == 10:
            raise Killed

    rows = KeptRows(tmp_path / "rows.db")
    with pytest.raises(Killed):
        VerifiedSession(inner=ToySession(), rows=rows).answer_many(map(ask, PROMPTS), max_new_tokens=LIMIT, step=stop)
    rest = VerifiedSession(inner=ToySession(), rows=KeptRows(tmp_path / "rows.db"))
    found = rest.answer_many([ask(prompt) for prompt in PROMPTS], max_new_tokens=LIMIT)
    assert rest.asked == len(PROMPTS) - 10
    assert [answer.token_ids for answer in found] == [expected(prompt) for prompt in PROMPTS]


def test_a_refused_prompt_stops_nobody():
    session = VerifiedSession(inner=ToySession())
    empty, long = [{"role": "user", "content": ""}], ask([1] * 50)
    found = session.answer_many([empty, ask((1, 2, 2)), long, [{"role": "user", "content": "no"}]], max_new_tokens=5)
    assert [isinstance(one, InvalidPromptError) for one in found] == [True, False, True, True]
    with pytest.raises(InvalidPromptError, match="50 tokens and the context 40"):
        session.answer(long, max_new_tokens=5)


def test_a_draft_saves_reading_once_the_model_is_known():
    drafts = {prompt: tuple(own_answer(list(prompt), LIMIT)) for prompt in PROMPTS}
    session = VerifiedSession(inner=ToySession(), drafts=drafts)
    session.answer_many([ask(prompt) for prompt in PROMPTS], max_new_tokens=LIMIT)
    generated = VerifiedSession(inner=ToySession())
    generated.answer_many([ask(prompt) for prompt in PROMPTS], max_new_tokens=LIMIT)
    assert session.said == generated.said
    assert len(PROMPTS) > CALIBRATED
