"""What an application would notice over HTTP: each promise broken once by a stand-in, and kept by another."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from harness.errors import MeasureError, SessionError
from harness.foundry.session import ServedAnswer
from harness.runtime.fake import FakeSession
from harness.runtime.session import Message, TokenTimeline
from harness.serving.endurance_child import soak, unload
from harness.serving.load import hung_up_differences
from harness.serving.serving import probe_refusals, seed_difference, stop_difference

QUESTION: list[Message] = [{"role": "user", "content": "E4?"}]
WHOLE = "the pump is blocked"


def said(text: str, finish: str = "stop") -> ServedAnswer:
    timeline = TokenTimeline(start_s=0.0, token_s=(), prompt_tokens=1)
    return ServedAnswer(text=text, token_ids=None, finish_reason=finish, timeline=timeline, completion_tokens=1)  # type: ignore[arg-type]


class Client:
    """A client of a service that keeps its promises, but for the planted one."""

    def __init__(self, broken: str = "", text: str = WHOLE) -> None:
        self._broken, self._text, self._asked, self._hung_up = broken, text, 0, False

    def request(
        self,
        messages: Sequence[Message],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int | None = None,
        stop: str | None = None,
    ) -> ServedAnswer:
        self._asked += 1
        if stop and self._broken != "stop":
            with_stop = len(stop) if self._broken == "keeps the stop string" else 0
            return said(
                self._text[: self._text.index(stop) + with_stop], "length" if "finish" in self._broken else "stop"
            )
        if temperature:
            return said(f"sampled {self._asked if self._broken == 'seed' else seed}")
        return said(f"{self._text} {seed}" if self._broken == "greedy" else self._text)

    def answer(self, messages: Sequence[Message], *, max_new_tokens: int) -> ServedAnswer:
        return said("left over" if self._hung_up and self._broken == "after" else self._text)

    def hang_up(self, messages: Sequence[Message], *, max_new_tokens: int, after_pieces: int) -> str:
        self._hung_up = True
        return "other" if self._broken == "before" else self._text[:3]


@pytest.mark.parametrize(
    ("broken", "is_told"),
    [("", False), ("stop", True), ("keeps the stop string", True), ("finish", True), ("greedy", False)],
)
def test_a_stop_string_that_does_not_stop_is_told(broken: str, is_told: bool) -> None:
    difference = stop_difference(Client(broken), QUESTION, max_new_tokens=8)  # type: ignore[arg-type]
    assert ("with the stop string 'is'" in str(difference)) is is_told


def test_an_answer_without_a_middle_shows_nothing_about_stop_strings() -> None:
    with pytest.raises(MeasureError, match="answer of 2 characters"):
        stop_difference(Client(text="ok"), QUESTION, max_new_tokens=8)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("broken", "told"),
    [("", None), ("seed", "temperature 1.5, seeds (7, 7)"), ("greedy", "temperature 0.0, seeds (7, 8)")],
)
def test_a_seed_that_repeats_nothing_or_moves_a_greedy_answer_is_told(broken: str, told: str | None) -> None:
    difference = seed_difference(Client(broken), QUESTION, max_new_tokens=8)  # type: ignore[arg-type]
    assert difference is None if told is None else str(difference).startswith(told)


@pytest.mark.parametrize(("broken", "differences"), [("", 0), ("before", 1), ("after", 1)])
def test_what_hanging_up_does_to_others_is_told(broken: str, differences: int) -> None:
    found = hung_up_differences(Client(broken), {"a": QUESTION}, {"a": WHOLE}, max_new_tokens=8)  # type: ignore[arg-type]
    assert len(found) == differences


class Service(BaseHTTPRequestHandler):
    """Refuses everything but the ordinary question, in the way that the server's `refuse` says."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server: Any = self.server
        if self._is_ordinary(body):
            text = "poisoned" if server.is_poisoned and server.seen else "fine"
            status, answer = 200, json.dumps({"choices": [{"message": {"content": text}}]})
        else:
            server.seen = True
            status, answer = server.refuse()
        if status == 0:
            self.connection.close()
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    def _is_ordinary(self, body: bytes) -> bool:
        try:
            asked = json.loads(body)
            return asked == {"model": "m:1", "messages": QUESTION, "max_tokens": 8, "temperature": 0}
        except ValueError:
            return False

    def log_message(self, *_: object) -> None: ...


ERROR = json.dumps({"error": {"message": "no", "type": "invalid_request_error"}})


@pytest.fixture
def service() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.refuse, server.is_poisoned, server.seen = (lambda: (400, ERROR)), False, False  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def proper(service: ThreadingHTTPServer) -> list[bool]:
    url = f"http://127.0.0.1:{service.server_port}/v1"
    refusals = probe_refusals(url, "m:1", context_length=64, question=QUESTION, max_new_tokens=8)
    assert len(refusals) >= 15
    return [refusal.is_proper for refusal in refusals]


def test_a_service_that_refuses_properly_is_proper(service: ThreadingHTTPServer) -> None:
    assert all(proper(service))


@pytest.mark.parametrize(
    "refuse",
    [lambda: (200, '{"choices": []}'), lambda: (500, ERROR), lambda: (400, ""), lambda: (400, "{}"), lambda: (0, "")],
    ids=["answers", "500", "no body", "no words", "hangs up"],
)
def test_a_service_that_refuses_otherwise_is_not(
    service: ThreadingHTTPServer, refuse: Callable[[], tuple[int, str]]
) -> None:
    service.refuse = refuse  # type: ignore[attr-defined]
    assert not any(proper(service))


def test_a_bad_request_that_harms_the_next_one_is_told(service: ThreadingHTTPServer) -> None:
    service.is_poisoned = True  # type: ignore[attr-defined]
    assert not any(proper(service))


def test_a_service_that_does_not_answer_at_all_is_no_measurement(service: ThreadingHTTPServer) -> None:
    url = f"http://127.0.0.1:{service.server_port}/v1"
    with pytest.raises(MeasureError, match="ordinary question with 400"):
        probe_refusals(url, "another:1", context_length=64, question=QUESTION, max_new_tokens=8)


def job(requests: int) -> dict[str, Any]:
    return {"conversations": {"a": QUESTION}, "requests": requests, "segments": 8, "max_new_tokens": 8}


def test_a_wrong_answer_an_error_and_growth_in_a_row_of_requests_are_counted() -> None:
    asked = 0

    def answer(_messages: Sequence[Message]) -> str:
        nonlocal asked
        asked += 1
        if asked == 5:
            raise SessionError("it broke off")
        return "other" if asked == 9 else "same"

    sizes = iter(range(100, 200, 10))
    found = soak(FakeSession(answer), job(16), lambda: next(sizes))  # type: ignore[arg-type]
    assert (found["requests"], found["errors"], found["wrong"]) == (16, ["a: it broke off"], ["a"])
    assert found["memory_bytes"] == list(range(100, 190, 10))


class Host:
    """Loads and unloads, and counts what it keeps."""

    kept_bytes = 0

    def load(self, _model: object) -> None:
        self.kept_bytes += 50

    def unload(self, _model: object) -> None:
        self.kept_bytes -= 40


def test_memory_around_loads_and_answers_after_them_are_kept() -> None:
    host, texts = Host(), iter(["a", "a", "b"])
    session = FakeSession(lambda _messages: next(texts))
    asked = {"question": QUESTION, "cycles": 2, "max_new_tokens": 8}
    found = unload(host, None, session, asked, lambda: host.kept_bytes)  # type: ignore[arg-type]
    assert found["is_same_after_reload"]
    assert found["cycles"] == [
        {"before_load_bytes": 0, "loaded_bytes": 50, "unloaded_bytes": 10},
        {"before_load_bytes": 10, "loaded_bytes": 60, "unloaded_bytes": 20},
    ]
    texts = iter(["a", "b"])
    other = FakeSession(lambda _messages: next(texts))
    assert not unload(host, None, other, asked, lambda: 0)["is_same_after_reload"]  # type: ignore[arg-type]
