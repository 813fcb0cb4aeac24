"""A model's own greedy answer, found by checking a draft instead of writing every token.

One prefill over prompt and draft shows what the model would have said at every position. As long as that is the draft,
the draft is its answer; from the first difference on it goes on by itself. This is the greedy rule of speculative
decoding (Y. Leviathan, M. Kalman, Y. Matias, ICML 2023, section 2.3) with a reference answer as the draft, so the
result is the model's own answer whatever the draft was; a good draft only makes it cheap.

Kernels may differ between a prefill and a single step, so two tokens that lie nearer than that difference are decided
by a single step, as generation would. The difference is measured for each model (`calibrate`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from harness.runtime.session import ScoringSession

Rows = npt.NDArray[np.float32]


class Cursor(Protocol):
    """A position in a sequence of tokens that one model is reading."""

    @property
    def token_ids(self) -> Sequence[int]:
        """The tokens so far."""
        ...

    def append(self, token_ids: Sequence[int], *, keep: int) -> Rows:
        """Read further tokens; logits behind the last `keep` of them, shape [keep, vocabulary]."""
        ...

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        ...

    def generate(self, count: int, end_ids: frozenset[int]) -> list[int]:
        """Up to `count` greedy tokens that follow, the first of `end_ids` included and last."""
        ...


class SteppingSession(ScoringSession, Protocol):
    """A session whose model can be read step by step."""

    end_ids: frozenset[int]
    """Tokens that end an answer."""

    is_steppable: bool
    """Whether stepping gives the model's own answers: no penalties, no window that slides over the cache."""

    def cursor(self, max_length: int) -> Cursor:
        """A place to read tokens; `max_length` bounds prompt and answer together."""
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of generated tokens."""
        ...


CHUNK_TOKENS = 64
"""Tokens that are read at once where logits are wanted: all of their logits are in memory together."""


def read_rows(cursor: Cursor, token_ids: Sequence[int], first: int) -> Iterator[tuple[int, Rows]]:
    """Logits behind `token_ids[first:]`, in chunks: the place of the first token, and rows [chunk, vocabulary].

    What the cursor has read of the beginning is not read again.
    """
    shared = min(_shared(cursor.token_ids, token_ids), first)
    if shared < len(cursor.token_ids):
        cursor.rewind(shared)
    if shared < first:
        cursor.append(token_ids[shared:first], keep=1)
    for start in range(first, len(token_ids), CHUNK_TOKENS):
        chunk = token_ids[start : start + CHUNK_TOKENS]
        yield start, cursor.append(chunk, keep=len(chunk))


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    differing = (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differing, min(len(one), len(other)))


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedAnswer:
    """A greedy answer and what the draft's positions looked like to the model."""

    token_ids: tuple[int, ...]
    """Without the token that ended it."""

    finish_reason: Literal["stop", "length"]
    end_id: int | None
    """The token that ended it; None where it was cut."""

    draft_rows: Rows
    """Logits that each draft token was compared with, shape [draft tokens, vocabulary]: teacher-forced."""

    verified: int
    """Leading tokens that the draft had right, its end included."""

    generated: int
    """Tokens that the model had to write itself."""


def verify(
    cursor: Cursor,
    prompt: Sequence[int],
    draft: Sequence[int],
    *,
    max_new_tokens: int,
    end_ids: frozenset[int],
    drift: float = 0.0,
) -> VerifiedAnswer:
    """The model's greedy answer to a prompt.

    Args:
        cursor: where the model reads; what it has read of this prompt already is not read again.
        prompt: token ids, at least one.
        draft: token ids of a likely answer, its end token included where it has one; may be empty.
        max_new_tokens: where the answer is cut.
        end_ids: tokens that end an answer.
        drift: logits that differ by no more are decided by a single step.
    """
    draft = _up_to_the_end(draft[:max_new_tokens], end_ids)
    rows = _seek(cursor, [*prompt, *draft[:-1]], keep=max(1, len(draft)))
    agreed = _agreement(cursor, rows, prompt, draft, drift)
    tokens = draft[:agreed]
    if not (agreed and draft[agreed - 1] in end_ids):
        tokens += _own_words(cursor, rows, prompt, draft, agreed, max_new_tokens, end_ids, drift)
    end_id = tokens[-1] if tokens and tokens[-1] in end_ids else None
    return VerifiedAnswer(
        token_ids=tuple(tokens if end_id is None else tokens[:-1]),
        finish_reason="length" if end_id is None else "stop",
        end_id=end_id,
        draft_rows=rows[: len(draft)],
        verified=agreed,
        generated=len(tokens) - agreed,
    )


def _up_to_the_end(draft: Sequence[int], end_ids: frozenset[int]) -> list[int]:
    end = next((place for place, token in enumerate(draft) if token in end_ids), len(draft))
    return list(draft[: end + 1])


def calibrate(cursor: Cursor, prompt: Sequence[int], answer: Sequence[int]) -> float:
    """The largest difference, in logits, between a prefill and single steps in how far the best token leads.

    0 where the kernels do not depend on how many tokens they get.
    """
    at_once = _seek(cursor, [*prompt, *answer[:-1]], keep=len(answer))
    cursor.rewind(len(prompt))
    stepwise = [at_once[:1]] + [cursor.append([token], keep=1) for token in answer[:-1]]
    single = np.concatenate(stepwise)
    best = at_once.argmax(axis=1)
    lead = _lead(at_once, best) - _lead(single, best)
    return float(np.abs(lead[1:]).max(initial=0.0))


def _seek(cursor: Cursor, token_ids: Sequence[int], *, keep: int) -> Rows:
    """Read up to the end of `token_ids`, from where the cursor parts from them; logits behind the last `keep`."""
    shared = min(_shared(cursor.token_ids, token_ids), len(token_ids) - keep)
    if shared < len(cursor.token_ids):
        cursor.rewind(shared)
    return cursor.append(token_ids[shared:], keep=keep)


def _agreement(cursor: Cursor, rows: Rows, prompt: Sequence[int], draft: Sequence[int], drift: float) -> int:
    """How many leading draft tokens are the model's own choice."""
    if not draft:
        return 0
    best = rows.argmax(axis=1)
    is_near = _lead(rows, best) <= drift if drift > 0 else np.zeros(len(rows), dtype=np.bool_)
    for place, token in enumerate(draft):
        chosen = _single_step(cursor, prompt, draft, place) if is_near[place] else int(best[place])
        if chosen != token:
            return place
    return len(draft)


def _own_words(
    cursor: Cursor,
    rows: Rows,
    prompt: Sequence[int],
    draft: Sequence[int],
    agreed: int,
    max_new_tokens: int,
    end_ids: frozenset[int],
    drift: float,
) -> list[int]:
    """What the model says from the first difference on."""
    left = max_new_tokens - agreed
    if left <= 0:
        return []
    if agreed == len(draft) > 0:  # the draft ended early: its last token has not been read
        _step_to(cursor, [*prompt, *draft])
        return cursor.generate(left, end_ids)
    row = rows[agreed : agreed + 1]
    best = row.argmax(axis=1)
    is_near = drift > 0 and bool(_lead(row, best)[0] <= drift)
    first = _single_step(cursor, prompt, draft, agreed) if is_near else int(best[0])
    if first in end_ids or left == 1:
        return [first]
    cursor.rewind(min(len(cursor.token_ids), len(prompt) + agreed))
    _step_to(cursor, [*prompt, *draft[:agreed], first])
    return [first, *cursor.generate(left - 1, end_ids)]


def _single_step(cursor: Cursor, prompt: Sequence[int], draft: Sequence[int], place: int) -> int:
    """The model's choice at a place, found as generation finds it: after the prompt from a step of one token."""
    read = [*prompt, *draft[:place]]
    if place == 0:
        cursor.rewind(1)
        return int((cursor.append(prompt[1:], keep=1) if len(prompt) > 1 else _seek(cursor, prompt, keep=1)).argmax())
    return int(_step_to(cursor, read).argmax())


def _step_to(cursor: Cursor, read: Sequence[int]) -> Rows:
    """Read up to the end of `read`, its last token by itself; logits behind it, shape [1, vocabulary].

    The cursor stands somewhere in `read` or in a continuation of it.
    """
    known = len(cursor.token_ids)
    if known >= len(read):
        cursor.rewind(len(read) - 1)
    elif known < len(read) - 1:
        cursor.append(read[known:-1], keep=1)
    return cursor.append(read[-1:], keep=1)


def _lead(rows: Rows, best: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """How far a given token leads the best of the others, in logits, shape [rows]."""
    leads = [row[place] - _largest_but(row, place) for row, place in zip(rows, best, strict=True)]
    return np.asarray(leads, dtype=np.float32)


def _largest_but(row: npt.NDArray[np.float32], place: np.int64) -> np.float32:
    """The largest number of a row, one place left out; two maxima, as sorting or copying a large row takes longer."""
    parts = (row[:place], row[place + 1 :])
    return np.float32(max(part.max(initial=-np.inf) for part in parts))
