"""The seam: every runtime behind one protocol, and what onnxruntime-genai really does behind it."""

import shutil
from pathlib import Path

import numpy as np
import psutil
import pytest

from harness.artifact.genai_config import set_target
from harness.config.target import CPU, Target
from harness.errors import ArtifactError, InvalidPromptError, SessionError
from harness.foundry.opening import genai_spec, open_session
from harness.runtime import genai
from harness.runtime.fake import FakeSession
from harness.runtime.genai import GenaiSession
from harness.runtime.session import ScoringSession, Session, TokenTimeline
from harness.runtime.smoke_test import smoke_test

QUESTION = [{"role": "user", "content": "What does E4 mean on my oven?"}]


def test_times_of_an_answer_by_hand():
    line = TokenTimeline(start_s=10.0, token_s=(10.5, 10.6, 10.9))
    assert line.ttft_s == 0.5
    assert line.itl_s == pytest.approx((0.1, 0.3))
    assert line.tpot_s == pytest.approx(0.2)
    assert line.e2e_s == pytest.approx(0.9)


def test_times_without_tokens_are_missing_and_not_zero():
    empty = TokenTimeline(start_s=10.0, token_s=())
    assert (empty.ttft_s, empty.tpot_s, empty.e2e_s, empty.itl_s) == (None, None, None, ())


def test_the_fake_keeps_the_protocol():
    fake = FakeSession(lambda messages: messages[-1]["content"].upper())
    assert isinstance(fake, Session)
    assert isinstance(fake, ScoringSession)
    assert fake.answer([{"role": "user", "content": "abc"}], max_new_tokens=2).text == "AB"
    with pytest.raises(InvalidPromptError):
        FakeSession(str, context_length=3).answer(QUESTION, max_new_tokens=1)


def test_a_folder_without_a_model_cannot_be_opened(tmp_path):
    with pytest.raises(SessionError, match="cannot load the model"):
        GenaiSession(tmp_path)


CUDA = Target.of("CUDAExecutionProvider")


def test_a_session_is_opened_on_the_target_of_its_spec(monkeypatch, tmp_path):
    opened = []

    def open_model(folder, target, *_, **_options):
        opened.append((folder, target))
        raise RuntimeError("no such device")

    monkeypatch.setattr(genai, "open_model", open_model)
    for spec in (genai_spec(tmp_path, CUDA), {"runtime": "genai", "path": str(tmp_path)}):
        with pytest.raises(SessionError, match="no such device"):
            open_session(spec)
    assert opened == [(tmp_path, CUDA), (tmp_path, CPU)]


@pytest.mark.toolchain
class TestGenai:
    @pytest.fixture(scope="class")
    @classmethod
    def session(cls, demo_artifact):
        opened = open_session({"runtime": "genai", "path": str(demo_artifact)})
        yield opened
        opened.close()
        opened.close()

    def test_what_the_config_asks_for_does_not_count(self, demo_artifact, tmp_path):
        """Only the target does: a graph may have been built for another accelerator."""
        folder = Path(shutil.copytree(demo_artifact, tmp_path / "model"))
        set_target(folder, CUDA)
        session = GenaiSession(folder)
        assert session.answer(QUESTION, max_new_tokens=4).text
        session.close()

    def test_a_target_that_is_not_here_is_told(self, demo_artifact, tmp_path):
        with pytest.raises(SessionError, match="cannot load the model"):
            GenaiSession(demo_artifact, target=CUDA)
        with pytest.raises(ArtifactError, match="loading it failed"):
            smoke_test(demo_artifact, target=CUDA, log=tmp_path / "log")

    def test_it_keeps_the_protocol(self, session):
        assert isinstance(session, ScoringSession)
        assert session.context_length == 2048

    def test_the_same_question_gets_the_same_answer(self, session):
        answers = [session.answer(QUESTION, max_new_tokens=64) for _ in range(3)]
        assert len({answer.text for answer in answers}) == 1
        assert answers[0].finish_reason == "stop"
        assert len(answers[0].timeline.token_s) == len(answers[0].token_ids) + 1  # the end token was generated too

    def test_an_answer_is_cut_where_it_is_told(self, session):
        answer = session.answer(QUESTION, max_new_tokens=3)
        assert (answer.finish_reason, len(answer.token_ids)) == ("length", 3)

    def test_equal_work_goes_on_beyond_the_end_token(self, session):
        answer = session.answer(QUESTION, max_new_tokens=100, min_new_tokens=100)
        assert len(answer.timeline.token_s) == 100

    def test_threads_change_no_logit(self, demo_artifacts):
        for artifact in demo_artifacts.values():
            session = GenaiSession(artifact.path, threads=1)
            ids = session.encode(session.render(QUESTION))
            alone, before = session.logits(ids), psutil.Process().num_threads()
            with session.computing_with(3):
                assert psutil.Process().num_threads() == before + 2  # the one that asks computes too
                shared = session.logits(ids)
            assert psutil.Process().num_threads() == before
            assert np.array_equal(alone, shared), artifact.variant
            session.close()

    def test_a_model_that_is_gone_when_it_is_loaded_again_is_told(self, demo_artifact, tmp_path):
        folder = Path(shutil.copytree(demo_artifact, tmp_path / "model"))
        session = GenaiSession(folder, threads=1)
        (folder / "model.onnx").unlink()
        with pytest.raises(SessionError, match="cannot load the model"), session.computing_with(2):
            pass

    def test_control_tokens_are_single_ids(self, session):
        prompt = session.render(QUESTION)
        assert prompt.endswith("<|im_start|>assistant\n")
        assert len(session.encode("<|im_end|>")) == 1

    def test_one_prefill_shows_the_logits_of_every_position(self, session):
        ids = session.encode(session.render(QUESTION))
        logits = session.logits(ids)
        assert logits.shape[0] == len(ids)
        first = session.answer(QUESTION, max_new_tokens=1).token_ids[0]
        assert int(np.argmax(logits[-1])) == first

    @pytest.mark.parametrize(
        ("content", "message"), [("word " * 2100, "the context 2048"), ("a\0b", "NUL")], ids=["over the context", "NUL"]
    )
    def test_a_refused_prompt_harms_nobody(self, session, content, message):
        before = session.answer(QUESTION, max_new_tokens=64).text
        with pytest.raises(InvalidPromptError, match=message):
            session.answer([{"role": "user", "content": content}], max_new_tokens=4)
        assert session.answer(QUESTION, max_new_tokens=64).text == before
