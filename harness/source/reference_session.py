"""The source model as a session: transformers, in one worker process of the toolchain."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import psutil

from harness.errors import InvalidPromptError, SessionError
from harness.metrics.units import format_bytes
from harness.runtime.session import Answer, Message, TokenTimeline
from harness.source.source import Source
from harness.system.child import describe_exit, describe_timeout, log_tail, time_limit
from harness.system.progress import Step, silent_step
from harness.toolchain.toolchain import Toolchain, quiet_environment, worker

WORKER = worker("reference_worker")


Precision = Literal["float32", "own precision"]

_OVERHEAD = 1.3
"""Memory of a loaded model / its weights: activations, cache, and what torch needs."""


def precision_in_memory(source: Source, available_bytes: int | None = None) -> Precision:
    """float32 where the source model fits into the memory so, else the precision that its files have.

    Raises:
        SessionError: it fits in neither.
    """
    available = psutil.virtual_memory().available if available_bytes is None else available_bytes
    in_float32 = 4 * (source.parameter_count or source.size_bytes // 2) * _OVERHEAD
    if in_float32 <= available:
        return "float32"
    if source.size_bytes * _OVERHEAD <= available:
        return "own precision"
    raise SessionError(
        f"the source model needs about {format_bytes(source.size_bytes * _OVERHEAD)} of memory to answer, "
        f"{format_bytes(available)} are free",
        where=str(source.path),
        next_step="close other programs; or keep its answers where it fits (slm-gate reference) and judge by them here "
        "(slm-gate run --reference FILE)",
    )


class ReferenceSession:
    """A `ScoringSession` and `BatchSession` over the source model; the process lives until `close`.

    Answers are greedy and end at the end-of-sequence tokens of the model's generation config. Their timelines hold
    only the start of a request: the reference is not timed.

    Raises:
        SessionError: transformers cannot load the model.
    """

    def __init__(
        self,
        source: Source,
        toolchain: Toolchain,
        *,
        template_options: Mapping[str, Any] | None = None,
        log: Path | None = None,
        timeout_s: float = 3600,
    ) -> None:
        """`template_options` are handed to the chat template with every conversation."""
        source.require_weights("asking the source model")
        precision = precision_in_memory(source)
        self.name = f"{source.path.name} in transformers ({precision})"
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._request = 0
        self._folder = tempfile.TemporaryDirectory(prefix="slm-gate-reference-")
        self._log = log or Path(self._folder.name, "reference.log")
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._worker: subprocess.Popen[str] | None = self._start(
            source, toolchain, precision, dict(template_options or {})
        )
        try:
            facts = self._reply(silent_step)
        except BaseException:
            self.close()
            raise
        self.context_length = int(facts["context_length"])
        self.end_ids = frozenset(int(token) for token in facts["end_ids"])
        self.is_steppable = bool(facts["is_steppable"])

    def answer(self, messages: Sequence[Message], *, max_new_tokens: int, min_new_tokens: int = 0) -> Answer:
        """Answer one conversation."""
        start_s = time.perf_counter()
        result = self._answers([messages], max_new_tokens, min_new_tokens, 1, silent_step)[0]
        if "refused" in result:
            raise self._refusal(result)
        return _as_answer(result, start_s)

    def answer_many(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        max_new_tokens: int,
        step: Step = silent_step,
        batch_size: int = 48,
    ) -> list[Answer | InvalidPromptError]:
        """Answers in the order of the conversations, in batches of similar length; the error of a refused one."""
        start_s = time.perf_counter()
        results = self._answers(conversations, max_new_tokens, 0, batch_size, step)
        return [self._refusal(one) if "refused" in one else _as_answer(one, start_s) for one in results]

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt text by the source model's own chat template."""
        return str(self._ask({"op": "render", "messages": [dict(message) for message in messages]}))

    def encode(self, text: str) -> list[int]:
        """Token ids by the source model's own tokenizer."""
        return [int(token) for token in self._ask({"op": "encode", "text": text})]

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of generated tokens."""
        return str(self._ask({"op": "decode", "token_ids": list(token_ids)}))

    def logits(self, token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Logits of every position, shape [len(token_ids), vocabulary], float32."""
        return self.ask_rows({"op": "logits", "token_ids": [int(token) for token in token_ids]})

    def cursor(self, max_length: int) -> ReferenceCursor:
        """A place to read and rewind tokens of the source model; a new one ends the one before."""
        self._ask({"op": "start"})
        return ReferenceCursor(self, max_length)

    def ask_cursor(self, job: dict[str, Any]) -> Any:
        """One step of a cursor."""
        return self._ask(job)

    def ask_rows(self, job: dict[str, Any]) -> npt.NDArray[np.float32]:
        """One step of a cursor that gives logits, which come through a file."""
        file = Path(self._folder.name, "logits.npy")
        with self._lock:
            self._send({**job, "file": str(file)})
            self._reply(silent_step)
            values = np.load(file, allow_pickle=False)
            file.unlink()
        return np.asarray(values, dtype=np.float32)

    def close(self) -> None:
        """End the worker; a second call does nothing."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        try:
            worker.communicate(timeout=5)  # closes its stdin, at which it ends
        except (subprocess.TimeoutExpired, OSError, ValueError):
            worker.kill()
            worker.wait()
        self._folder.cleanup()

    def _start(
        self, source: Source, toolchain: Toolchain, precision: str, template_options: dict[str, Any]
    ) -> subprocess.Popen[str]:
        settings = Path(self._folder.name, "settings.json")
        asked = {"path": str(source.path), "trust_remote_code": source.trust_remote_code, "precision": precision}
        settings.write_text(json.dumps({**asked, "template_options": template_options}))
        with self._log.open("a", encoding="utf-8") as sink:
            try:
                return subprocess.Popen(
                    [str(part) for part in (*toolchain.command(WORKER), settings)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=sink,
                    env={**os.environ, **quiet_environment()},
                    encoding="utf-8",
                )
            except OSError as error:
                raise SessionError(f"the toolchain's Python does not start: {error}", where=self.name) from error

    def _answers(
        self, conversations: Sequence[Sequence[Message]], limit: int, least: int, batch_size: int, step: Step
    ) -> list[dict[str, Any]]:
        plain = [[dict(message) for message in messages] for messages in conversations]
        job = {"op": "answers", "conversations": plain, "max_new_tokens": limit, "min_new_tokens": least}
        results: list[dict[str, Any]] = self._ask({**job, "batch_size": batch_size}, step) if plain else []
        return results

    def _ask(self, job: dict[str, Any], step: Step = silent_step) -> Any:
        with self._lock:
            self._send(job)
            return self._reply(step)

    def _send(self, job: dict[str, Any]) -> None:
        if self._worker is None or self._worker.stdin is None:
            raise SessionError("the session is closed", where=self.name)
        self._request += 1  # replies carry the number, so that the reply to an abandoned request is skipped
        try:
            self._worker.stdin.write(json.dumps({**job, "request": self._request}) + "\n")
            self._worker.stdin.flush()
        except OSError as error:
            raise self._died() from error

    def _reply(self, step: Step) -> Any:
        worker = self._worker
        assert worker is not None
        assert worker.stdout is not None
        with time_limit(worker, self._timeout_s) as timed_out:
            for line in worker.stdout:
                reply = json.loads(line)
                if reply["request"] != self._request:
                    continue
                if "step" not in reply:
                    return self._unpack(reply)
                step(*reply["step"])
        raise self._died(describe_timeout(self._timeout_s) if timed_out.is_set() else None)

    def _unpack(self, reply: dict[str, Any]) -> Any:
        if "refused" in reply:
            raise self._refusal(reply)
        if "error" in reply:
            raise SessionError(f"transformers failed: {reply['error']}", where=f"{self.name}\n{log_tail(self._log)}")
        return reply["ok"]

    def _refusal(self, reply: dict[str, Any]) -> InvalidPromptError:
        return InvalidPromptError(reply["refused"], where=self.name)

    def _died(self, how: str | None = None) -> SessionError:
        assert self._worker is not None
        status = self._worker.wait()
        return SessionError(
            f"the process of the source model {how or describe_exit(status)}",
            where=f"{self.name}\n{log_tail(self._log)}",
            next_step="read the log's last lines; with too little memory use a smaller batch_size",
        )


class ReferenceCursor:
    """A `Cursor` over the source model."""

    def __init__(self, session: ReferenceSession, max_length: int) -> None:
        self._session, self._max_length = session, max_length
        self._token_ids: list[int] = []

    @property
    def token_ids(self) -> Sequence[int]:
        """The tokens so far."""
        return self._token_ids

    def append(self, token_ids: Sequence[int], *, keep: int) -> npt.NDArray[np.float32]:
        """Read further tokens; logits behind the last `keep` of them, shape [keep, vocabulary]."""
        ids = [int(token) for token in token_ids]
        rows = self._session.ask_rows({"op": "append", "token_ids": ids, "keep": keep})
        self._token_ids += ids
        return rows

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        if length < len(self._token_ids):
            self._session.ask_cursor({"op": "rewind", "length": length} if length else {"op": "start"})
            del self._token_ids[length:]

    def generate(self, count: int, end_ids: frozenset[int]) -> list[int]:
        """Up to `count` greedy tokens that follow, the first of `end_ids` included and last."""
        room = min(count, self._max_length - len(self._token_ids))
        said = self._session.ask_cursor({"op": "go_on", "count": room, "end_ids": sorted(end_ids)})
        self._token_ids += said
        return [int(token) for token in said]


def _as_answer(result: dict[str, Any], start_s: float) -> Answer:
    timeline = TokenTimeline(start_s=start_s, token_s=(), prompt_tokens=result["prompt_tokens"])
    return Answer(
        text=result["text"],
        token_ids=tuple(result["tokens"]),
        finish_reason=result["finish"],
        timeline=timeline,
    )
