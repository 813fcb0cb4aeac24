"""What the gate asks of runtimes, and when tokens became visible: TTFT, ITL and TPOT are defined here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from harness.errors import InvalidPromptError
from harness.system.progress import Step, silent_step

Message = Mapping[str, str]
"""One turn of a conversation: `{"role": "user", "content": "..."}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTimeline:
    """When the tokens of one answer became visible; every latency number derives from it."""

    start_s: float
    """`time.perf_counter()` when the request was handed over, before its prompt was tokenised."""

    token_s: tuple[float, ...]
    """`time.perf_counter()` of each generated token, in order."""

    prompt_tokens: int | None = None
    """Length of the prompt in tokens; None if the runtime does not report it."""

    @property
    def ttft_s(self) -> float | None:
        """Request handed over -> first token visible, tokenisation included; None without a token."""
        return self.token_s[0] - self.start_s if self.token_s else None

    @property
    def e2e_s(self) -> float | None:
        """Request handed over -> last token; None without a token."""
        return self.token_s[-1] - self.start_s if self.token_s else None

    @property
    def itl_s(self) -> tuple[float, ...]:
        """Every gap between neighbouring tokens; empty below two tokens."""
        return tuple(b - a for a, b in zip(self.token_s, self.token_s[1:], strict=False))

    @property
    def tpot_s(self) -> float | None:
        """(last - first token) / (n - 1); None below two tokens."""
        count = len(self.token_s)
        return (self.token_s[-1] - self.token_s[0]) / (count - 1) if count > 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a runtime said to one conversation."""

    text: str
    """Decoded answer without the end-of-sequence token."""

    token_ids: tuple[int, ...] | None
    """Generated ids without end-of-sequence; None if the runtime does not report it."""

    finish_reason: Literal["stop", "length"]
    """`stop`: the model ended its answer; `length`: it was cut at `max_new_tokens` or the context."""

    timeline: TokenTimeline


@runtime_checkable
class Session(Protocol):
    """A loaded model that answers one conversation at a time, greedily.

    `answer` raises `InvalidPromptError` for a prompt that the runtime refuses (over the context, no content);
    the session must go on after it. Anything else that fails is a `SessionError`.
    """

    name: str
    """For messages: `int4 in onnxruntime-genai`."""

    context_length: int
    """Prompt and answer together, in tokens."""

    def answer(self, messages: Sequence[Message], *, max_new_tokens: int) -> Answer:
        """Answer greedily, with the model's own chat template."""
        ...

    def close(self) -> None:
        """Give everything back; a second call does nothing."""
        ...


@runtime_checkable
class ScoringSession(Session, Protocol):
    """A session that also shows its tokens and logits, as divergence needs them."""

    def answer(self, messages: Sequence[Message], *, max_new_tokens: int, min_new_tokens: int = 0) -> Answer:
        """Answer greedily; end-of-sequence is ignored for the first `min_new_tokens` tokens."""
        ...

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt text that the chat template makes of a conversation."""
        ...

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without added special tokens."""
        ...

    def logits(self, token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Teacher-forced logits, shape [len(token_ids), vocabulary], float32; row i predicts token i + 1."""
        ...


@runtime_checkable
class TimedSession(ScoringSession, Protocol):
    """A session whose work can be made equal, so that it can be timed."""

    def timed(
        self, messages: Sequence[Message], *, new_tokens: int, batch: int = 1, depth_tokens: int = 0
    ) -> TokenTimeline:
        """Answer `batch` equal prompts together with exactly `new_tokens` tokens each, and return when they came.

        `depth_tokens` tokens are in the cache before the clock starts; a batch begins with none.
        """
        ...


@runtime_checkable
class BatchSession(Session, Protocol):
    """A session that answers many conversations faster together than one by one."""

    def answer_many(
        self, conversations: Sequence[Sequence[Message]], *, max_new_tokens: int, step: Step = silent_step
    ) -> list[Answer | InvalidPromptError]:
        """Answers in the order of the conversations; for a refused one the error that `answer` would raise."""
        ...


@runtime_checkable
class LeakSession(Session, Protocol):
    """A session that also walks the paths on which a runtime can lose memory without an answer."""

    def open_and_drop(self) -> None:
        """Begin what holds one conversation, and give it back before anything is asked."""
        ...

    def break_off(self, messages: Sequence[Message]) -> None:
        """Read the first piece of an answer, then drop it in mid-stream, as when a client hangs up."""
        ...

    def fail(self) -> None:
        """Make the runtime itself fail in a request, and catch what it raises."""
        ...

    def reload(self) -> None:
        """Give the model's memory back and load it again."""
        ...
