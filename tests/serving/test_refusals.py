"""Requests that cannot be served: refused properly by one stand-in of the service, otherwise by others."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from harness.errors import MeasureError
from harness.pack.load import load_pack
from harness.serving.refusals import Refusal, measure_refusals, probe_refusals
from tests.conftest import write_pack
from tests.serving.clients import QUESTION


@pytest.mark.parametrize(
    ("status", "message", "lives_on", "is_proper"),
    [(400, "no", True, True), (404, "no", True, True), (200, "no", True, False), (500, "no", True, False),
     (0, "no", True, False), (400, "", True, False), (400, "no", False, False)],
)  # fmt: skip
def test_a_refusal_is_a_4xx_with_words_and_the_service_alive(
    status: int, message: str, lives_on: bool, is_proper: bool
) -> None:
    assert Refusal(request="x", status=status, message=message, lives_on=lives_on).is_proper is is_proper


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


def test_what_is_not_refused_properly_is_told(service: ThreadingHTTPServer, tmp_path: Path) -> None:
    case = {"id": "a", "kind": "part", "messages": QUESTION, "expected": {"status": "ok"}}
    pack = load_pack(write_pack(tmp_path / "pack", cases_jsonl=json.dumps(case)))
    url = f"http://127.0.0.1:{service.server_port}/v1"
    found = measure_refusals(url, "m:1", pack, context_length=64).measurement
    assert found.estimate("foundry_refusal_rate").value == 1.0
    service.refuse = lambda: (500, ERROR)  # type: ignore[attr-defined]
    found = measure_refusals(url, "m:1", pack, context_length=64).measurement
    assert found.estimate("foundry_refusal_rate").value == 0.0
    assert "unknown model: status 500, 'no'" in found.details["foundry_refusal_rate"]
