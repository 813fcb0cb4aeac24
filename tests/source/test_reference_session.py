"""The reference session against a stub: order, refusals, and a worker that dies, hangs or fails."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.errors import InvalidPromptError, SessionError
from harness.runtime.session import BatchSession, ScoringSession
from harness.source import reference_session as module
from harness.source.reference_session import ReferenceSession, precision_in_memory
from harness.source.source import resolve_source
from harness.toolchain.reference_worker import TOKENS_PER_BATCH, batches
from harness.toolchain.toolchain import PINS, Toolchain


def ask(text):
    return [{"role": "user", "content": text}]


@pytest.fixture
def open_stub(toy_source, monkeypatch):
    monkeypatch.setattr(module, "WORKER", Path(__file__).with_name("stub_reference.py"))
    toolchain = Toolchain(python=Path(sys.executable), versions=PINS)
    opened = []

    def open_session(**options):
        opened.append(ReferenceSession(resolve_source(str(toy_source)), toolchain, **options))
        return opened[-1]

    yield open_session
    for session in opened:
        session.close()


def test_it_is_what_the_gate_expects(open_stub):
    session = open_stub()
    assert isinstance(session, ScoringSession)
    assert isinstance(session, BatchSession)
    assert session.context_length == 64


def test_answers_keep_their_order_and_a_refused_one_is_an_error(open_stub):
    session = open_stub()
    steps = []
    answers = session.answer_many(
        [ask("a"), ask("refuse"), ask("bc")], max_new_tokens=4, step=lambda *done: steps.append(done)
    )
    assert isinstance(answers[1], InvalidPromptError)
    assert [answers[0].text, answers[2].text] == ["A", "BC"]
    assert answers[2].timeline.prompt_tokens == 2
    assert answers[0].timeline.ttft_s is None
    assert steps == [(1, 3)]
    assert session.answer_many([], max_new_tokens=4) == []


def test_one_refused_prompt_leaves_the_session_alive(open_stub):
    session = open_stub()
    with pytest.raises(InvalidPromptError, match="no"):
        session.answer(ask("refuse"), max_new_tokens=4)
    assert session.answer(ask("x"), max_new_tokens=4).text == "X"


def test_a_reply_that_nobody_waited_for_is_not_the_next_ones(open_stub):
    session = open_stub()

    def give_up(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.answer_many([ask("old")], max_new_tokens=4, step=give_up)
    assert session.answer(ask("new"), max_new_tokens=4).text == "NEW"


def test_logits_come_as_float32_by_position(open_stub):
    values = open_stub().logits([1, 2, 3])
    assert values.shape == (3, 4)
    assert values.dtype.name == "float32"


def test_an_error_of_the_worker_is_told_and_survived(open_stub):
    session = open_stub()
    with pytest.raises(SessionError, match="RuntimeError: odd"):
        session.encode("fail")
    assert session.encode("x") == [7]


def test_a_killed_worker_is_told_by_its_signal_and_last_words(open_stub):
    session = open_stub()
    with pytest.raises(SessionError, match="SIGKILL") as caught:
        session.encode("die")
    assert "last words" in caught.value.where
    with pytest.raises(SessionError):
        session.encode("x")


def test_a_worker_that_leaves_is_told_by_its_status(open_stub):
    with pytest.raises(SessionError, match="status 3"):
        open_stub().encode("leave")


def test_a_worker_that_hangs_is_stopped(open_stub):
    with pytest.raises(SessionError, match="took longer than"):
        open_stub(timeout_s=0.5).encode("hang")


def test_a_model_that_does_not_load_is_told(open_stub, toy_source, monkeypatch):
    broken = replace(resolve_source(str(toy_source)), path=Path("broken"))
    with pytest.raises(SessionError, match="cannot load"):
        ReferenceSession(broken, Toolchain(python=Path(sys.executable), versions=PINS))


def test_a_closed_session_says_so_and_closes_twice(open_stub, tmp_path):
    session = open_stub(log=tmp_path / "logs" / "reference.log")
    session.close()
    session.close()
    with pytest.raises(SessionError, match="closed"):
        session.encode("x")
    assert (tmp_path / "logs" / "reference.log").exists()


def test_batches_are_bounded_in_number_and_in_tokens():
    lengths = {place: (10 + place % 7, 32) for place in range(50)}
    made = list(batches(lengths, 8))
    assert sorted(place for batch in made for place in batch) == list(range(50))
    assert max(map(len, made)) == 8
    long = dict.fromkeys(range(5), (TOKENS_PER_BATCH // 3, 32))
    assert [len(batch) for batch in batches(long, 16)] == [2, 2, 1]
    assert list(batches({0: (TOKENS_PER_BATCH * 2, 32)}, 16)) == [[0]]
    assert list(batches({}, 16)) == []


def test_prompts_with_less_room_are_answered_apart():
    made = list(batches({0: (60, 4), 1: (10, 32), 2: (61, 3), 3: (9, 32)}, 16))
    assert made == [[2], [0], [1, 3]]


@pytest.mark.parametrize(
    ("available_bytes", "precision"), [(6e9, "float32"), (2.7e9, "own precision"), (5.19e9, "own precision")]
)
def test_the_source_answers_in_float32_where_it_fits(available_bytes, precision):
    half = SimpleNamespace(parameter_count=10**9, size_bytes=2 * 10**9, path=Path("model"))
    assert precision_in_memory(half, int(available_bytes)) == precision


def test_a_source_that_does_not_fit_is_refused_with_the_figures():
    half = SimpleNamespace(parameter_count=10**9, size_bytes=2 * 10**9, path=Path("model"))
    with pytest.raises(SessionError, match=r"needs about 2.4 GiB of memory to answer, 953.7 MiB are free"):
        precision_in_memory(half, 10**9)
