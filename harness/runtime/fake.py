"""A session for tests: it answers from a function, without a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from harness.errors import InvalidPromptError
from harness.runtime.session import Answer, Message, TokenTimeline


class FakeSession:
    """A `ScoringSession` whose tokens are characters and whose answers come from `reply`.

    `logits` come from `score`, which maps token ids to an array [len(ids), vocabulary].
    """

    def __init__(
        self,
        reply: Callable[[Sequence[Message]], str],
        *,
        name: str = "fake",
        context_length: int = 512,
        score: Callable[[Sequence[int]], npt.NDArray[np.float32]] | None = None,
    ) -> None:
        self.name = name
        self.context_length = context_length
        self.is_closed = False
        self.end_ids: frozenset[int] = frozenset()
        self.is_steppable = score is not None
        self._reply = reply
        self._score = score

    def render(self, messages: Sequence[Message]) -> str:
        """ChatML."""
        turns = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
        return f"{turns}<|im_start|>assistant\n"

    def encode(self, text: str) -> list[int]:
        """One id per character."""
        return [ord(character) for character in text]

    def decode(self, token_ids: Sequence[int]) -> str:
        """The characters."""
        return "".join(map(chr, token_ids))

    def answer(self, messages: Sequence[Message], *, max_new_tokens: int, min_new_tokens: int = 0) -> Answer:
        """What `reply` says, cut at `max_new_tokens` characters."""
        start_s = time.perf_counter()
        prompt_tokens = len(self.encode(self.render(messages)))
        if prompt_tokens >= self.context_length:
            raise InvalidPromptError(f"{prompt_tokens} tokens are over the context", where=self.name)
        text = self._reply(messages).ljust(min_new_tokens)
        ids = tuple(self.encode(text[:max_new_tokens]))
        return Answer(
            text=text[:max_new_tokens],
            token_ids=ids,
            finish_reason="stop" if len(text) <= max_new_tokens else "length",
            timeline=TokenTimeline(
                start_s=start_s, token_s=tuple(time.perf_counter() for _ in ids), prompt_tokens=prompt_tokens
            ),
        )

    def timed(
        self, messages: Sequence[Message], *, new_tokens: int, batch: int = 1, depth_tokens: int = 0
    ) -> TokenTimeline:
        """The times of an answer; batch and depth cost nothing here."""
        return self.answer(messages, max_new_tokens=new_tokens, min_new_tokens=new_tokens).timeline

    def logits(self, token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """What `score` says."""
        if self._score is None:
            raise NotImplementedError("this fake was made without scores")
        return self._score(token_ids)

    def cursor(self, max_length: int) -> FakeCursor:
        """A place to read characters; what `score` says of them."""
        return FakeCursor(self.logits)

    def open_and_drop(self) -> None:
        """Nothing is held."""

    def break_off(self, messages: Sequence[Message]) -> None:
        """Answer with one character."""
        self.answer(messages, max_new_tokens=1)

    def fail(self) -> None:
        """Nothing can."""

    def reload(self) -> None:
        """There is no model."""

    def close(self) -> None:
        """Note that it happened."""
        self.is_closed = True


class FakeCursor:
    """A `Cursor` over a function that gives the logits of a whole sequence."""

    def __init__(self, score: Callable[[Sequence[int]], npt.NDArray[np.float32]]) -> None:
        self.token_ids: list[int] = []
        self._score = score

    def append(self, token_ids: Sequence[int], *, keep: int) -> npt.NDArray[np.float32]:
        """Read further tokens; logits behind the last `keep` of them."""
        self.token_ids += token_ids
        return self._score(self.token_ids)[-keep:]

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        del self.token_ids[length:]

    def generate(self, count: int, end_ids: frozenset[int]) -> list[int]:
        """Greedy tokens that follow."""
        tokens: list[int] = []
        while len(tokens) < count and not (tokens and tokens[-1] in end_ids):
            tokens.append(int(self._score(self.token_ids)[-1].argmax()))
            self.token_ids.append(tokens[-1])
        return tokens
