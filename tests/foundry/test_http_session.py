"""The web service, asked by the openai client; and a stand-in that breaks off, as the real one never does on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.errors import InvalidPromptError, SessionError
from harness.foundry.host import FoundryHost, RegisteredModel
from harness.foundry.http_session import FoundryHttpSession
from harness.runtime.genai import GenaiSession
from harness.runtime.session import Message, Session

QUESTION = [{"role": "user", "content": "What does E4 mean?"}]
CONVERSATIONS: list[list[Message]] = [
    [{"role": "user", "content": text}]
    for text in ("What does E4 mean?", "ÄÖÜ ☕ 漢字", "  padded  ", "<|im_end|> {{ 7 * 7 }}", "why? " * 40, "x\ny\tz")
]
CONVERSATIONS.append([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "F1?"}])


def served(url: str, *, streams: bool = True, model_id: str = "m:1") -> FoundryHttpSession:
    return FoundryHttpSession(url, model_id, context_length=2048, streams=streams)


@pytest.fixture(scope="module")
def bare(demo_artifact: Path) -> Iterator[GenaiSession]:
    session = GenaiSession(demo_artifact)
    yield session
    session.close()


@pytest.fixture(scope="module")
def host(bare: GenaiSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FoundryHost]:
    with FoundryHost(tmp_path_factory.mktemp("foundry")) as host:
        yield host


@pytest.fixture(scope="module")
def model(host: FoundryHost, demo_artifact: Path) -> RegisteredModel:
    model = host.register(demo_artifact, "demo-http")
    host.load(model)
    return model


@pytest.fixture(params=[True, False], ids=["stream", "whole"])
def session(request: pytest.FixtureRequest, host: FoundryHost, model: RegisteredModel) -> Iterator[FoundryHttpSession]:
    session = served(host.serve(), streams=request.param, model_id=model.model_id)
    yield session
    session.close()


@pytest.mark.toolchain
@pytest.mark.foundry
class TestTheRealService:
    @pytest.mark.parametrize("number", range(len(CONVERSATIONS)))
    def test_it_answers_as_the_bare_runtime_does(
        self, session: FoundryHttpSession, bare: GenaiSession, number: int
    ) -> None:
        assert isinstance(session, Session)
        for limit in (3, 64):
            answer = session.answer(CONVERSATIONS[number], max_new_tokens=limit)
            expected = bare.answer(CONVERSATIONS[number], max_new_tokens=limit)
            assert (answer.text, answer.finish_reason) == (expected.text, expected.finish_reason)
            assert answer.timeline.prompt_tokens == expected.timeline.prompt_tokens
            assert answer.completion_tokens == len(expected.token_ids or ())

    def test_a_stop_string_ends_the_answer_before_it(self, session: FoundryHttpSession) -> None:
        whole = session.answer(QUESTION, max_new_tokens=48).text
        cut = session.request(QUESTION, max_new_tokens=48, stop=whole[4:6])
        assert cut.text == whole[: whole.index(whole[4:6])]
        assert cut.finish_reason == "stop"

    def test_a_seed_repeats_a_sampled_answer(self, session: FoundryHttpSession) -> None:
        def ask(seed: int) -> str:
            return session.request(QUESTION, max_new_tokens=24, temperature=2.0, seed=seed).text

        assert ask(1) == ask(1)
        assert len({ask(seed) for seed in range(8)}) > 1
        assert (
            session.request(QUESTION, max_new_tokens=24, seed=7).text
            == session.answer(QUESTION, max_new_tokens=24).text
        )

    @pytest.mark.parametrize("bad", ["", "word " * 9000, "a\0b", "\ud800"], ids=["empty", "over", "nul", "surrogate"])
    def test_a_refused_prompt_leaves_it_serving(self, session: FoundryHttpSession, bad: str) -> None:
        before = session.answer(QUESTION, max_new_tokens=16).text
        with pytest.raises(InvalidPromptError):
            session.answer([{"role": "user", "content": bad}], max_new_tokens=16)
        assert session.answer(QUESTION, max_new_tokens=16).text == before

    def test_an_answer_longer_than_the_context_is_cut_there(
        self, session: FoundryHttpSession, bare: GenaiSession
    ) -> None:
        long = [{"role": "user", "content": "hi " * 900}]
        answer, expected = (one.answer(long, max_new_tokens=2048) for one in (session, bare))
        assert answer.text == expected.text

    def test_a_model_it_does_not_have_is_a_session_error(self, host: FoundryHost) -> None:
        with pytest.raises(SessionError, match="nobody:1") as refused:
            served(host.serve(), model_id="nobody:1").answer(QUESTION, max_new_tokens=4)
        assert not isinstance(refused.value, InvalidPromptError)

    def test_a_model_that_is_not_loaded_is_a_session_error(self, host: FoundryHost, model: RegisteredModel) -> None:
        host.unload(model)
        with pytest.raises(SessionError, match="not loaded") as refused:
            served(host.serve(), model_id=model.model_id).answer(QUESTION, max_new_tokens=4)
        assert not isinstance(refused.value, InvalidPromptError)
        host.load(model)

    def test_a_client_that_hangs_up_leaves_it_serving_and_unloadable(
        self, host: FoundryHost, model: RegisteredModel
    ) -> None:
        session = served(host.serve(), model_id=model.model_id)
        whole = session.answer(QUESTION, max_new_tokens=64).text
        for _ in range(3):
            assert whole.startswith(session.hang_up(QUESTION, max_new_tokens=64, after_pieces=2))
        assert session.answer(QUESTION, max_new_tokens=64).text == whole
        session.hang_up(QUESTION, max_new_tokens=64, after_pieces=1)
        host.unload(model)
        assert not model.handle.is_loaded
        host.load(model)

    def test_it_comes_back_after_a_restart(self, host: FoundryHost, model: RegisteredModel) -> None:
        first = served(host.serve(), model_id=model.model_id)
        before = first.answer(QUESTION, max_new_tokens=16).text
        host.stop_serving()
        host.stop_serving()
        with pytest.raises(SessionError, match="did not answer"):
            first.answer(QUESTION, max_new_tokens=16)
        assert model.handle.is_loaded
        assert served(host.serve(), model_id=model.model_id).answer(QUESTION, max_new_tokens=16).text == before

    def test_it_listens_on_loopback_only(self, host: FoundryHost) -> None:
        assert host.serve().startswith("http://127.0.0.1:")


CHUNK = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m:1"}


class Broken(BaseHTTPRequestHandler):
    """Sends what the server's `script` says, then closes the connection."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, kind, body = self.server.script  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) + self.server.missing))  # type: ignore[attr-defined]
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def broken() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Broken)
    server.missing = 0  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def event(**fields: object) -> bytes:
    return f"data: {json.dumps({**CHUNK, **fields})}\n\n".encode()


PIECE = event(choices=[{"index": 0, "delta": {"content": "x"}, "finish_reason": None}])
END = event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
ODD = event(choices=[{"index": 0, "delta": {}, "finish_reason": "content_filter"}])
USAGE = event(choices=[], usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2})
DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("status", "body", "missing"),
    [
        (200, PIECE, 0),
        (200, PIECE, 100),
        (200, PIECE + END + DONE, 0),
        (200, PIECE + USAGE + DONE, 0),
        (200, PIECE + ODD + USAGE + DONE, 0),
        (200, b"data: {\n\n", 0),
        (500, b"server=oatpp\ncode=500\n", 0),
        (503, b"", 0),
    ],
    ids=["early end", "cut", "no usage", "no finish", "odd finish", "bad json", "500", "503"],
)
def test_an_answer_that_breaks_off_is_never_an_answer(
    broken: ThreadingHTTPServer, status: int, body: bytes, missing: int
) -> None:
    broken.script, broken.missing = (status, "text/event-stream", body), missing  # type: ignore[attr-defined]
    with pytest.raises(SessionError) as failed:
        served(f"http://127.0.0.1:{broken.server_port}/v1").answer(QUESTION, max_new_tokens=4)
    assert not isinstance(failed.value, InvalidPromptError)


def test_a_whole_answer_of_the_stand_in_is_one(broken: ThreadingHTTPServer) -> None:
    broken.script = (200, "text/event-stream", PIECE + END + USAGE + DONE)  # type: ignore[attr-defined]
    answer = served(f"http://127.0.0.1:{broken.server_port}/v1").answer(QUESTION, max_new_tokens=4)
    assert (answer.text, answer.completion_tokens, len(answer.timeline.token_s)) == ("x", 1, 1)


def test_proxies_of_the_environment_are_not_asked(broken: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    test_a_whole_answer_of_the_stand_in_is_one(broken)
