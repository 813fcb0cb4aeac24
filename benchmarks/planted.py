"""Sessions with a planted slowdown, and other load beside them: what the benchmarks of regressions measure on.

A slow session waits busily after each token for a fraction of the time that has passed since the one before, the first
one's prompt included: everything takes that much longer. The other side runs through the same code, with 0.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.runtime.genai import GenaiSession
from harness.runtime.session import Answer, Message


class SlowSession(GenaiSession):
    """A session whose every step takes longer by a fraction."""

    def __init__(self, path: Path, *, fraction: float) -> None:
        super().__init__(path)
        self.fraction = fraction
        self._mark_s = 0.0

    def answer(self, messages: Sequence[Message], *, max_new_tokens: int, min_new_tokens: int = 0) -> Answer:
        """Answer greedily; the wait begins to grow before the prompt is tokenised."""
        self._mark_s = time.perf_counter()
        return super().answer(messages, max_new_tokens=max_new_tokens, min_new_tokens=min_new_tokens)

    def pause(self) -> None:
        """Wait busily for the fraction of what has passed since the last pause ended."""
        now_s = time.perf_counter()
        until_s = now_s + self.fraction * (now_s - self._mark_s)
        while time.perf_counter() < until_s:
            pass
        self._mark_s = time.perf_counter()

    def _generator(self, *args: Any, **settings: Any) -> Any:
        return _SlowGenerator(super()._generator(*args, **settings), self)


class _SlowGenerator:
    """Passes everything on; each token comes after a pause."""

    def __init__(self, generator: Any, session: SlowSession) -> None:
        self._generator, self._session = generator, session
        self.append_tokens, self.is_done = generator.append_tokens, generator.is_done
        self.generate_next_token = generator.generate_next_token

    def get_next_tokens(self) -> Any:
        tokens = self._generator.get_next_tokens()
        self._session.pause()
        return tokens


@contextmanager
def other_load(processes: int) -> Iterator[None]:
    """So many processes that compute all the time beside what is measured."""
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
