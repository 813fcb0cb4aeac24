"""What a variant is asked beyond a few random tokens: texts in many scripts, and as far as its context goes.

A fault that waits for a letter or for a position does not show in short English. Both graphs read the same token ids in
the same chunks, and nothing but onnxruntime-genai is needed for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.runtime.verified import CHUNK_TOKENS, Cursor
from harness.stats.logit_noise import logit_noise

Rows = Mapping[str, npt.NDArray[np.float32]]
"""Logits of a sample of the vocabulary by the name of a sequence, shape [positions, tokens]; NaN all along a position
of which any logit of the whole vocabulary is not finite."""

TEXTS: Mapping[str, str] = {
    "prose": "The drain pump is blocked. Clean the filter and start the programme again; it takes 1,234 seconds.",
    "JSON": '{"status": "ok", "part": "filter", "steps": [1, 2, 3], "message": null}',
    "code": "for (int i = 0; i < n; ++i) { a[i] += b[i] * 2; } // ok?!\n\tdef f(x): return x ** 2",
    "numbers": "0 1 12 123 1234 12345 1234567890 3.14159 -2 1,000,000.00 1e-9 0x7F 50 % of 20 °C",
    "accents": "Übergröße café naïve Łódź ça İstanbul señor jalapeño — “quoted”",
    "Cyrillic": "Почему насос не работает? Очистите фильтр.",
    "Greek": "Καλημέρα κόσμε, πώς είσαι;",
    "Hebrew and Arabic": "שלום עולם مرحبا بالعالم",
    "Devanagari": "नमस्ते दुनिया कैसे हो",
    "Chinese": "你好世界。排水泵堵塞了。",
    "Japanese": "こんにちは世界、ポンプが動きません。",
    "Korean": "안녕하세요, 펌프가 작동하지 않습니다.",
    "Thai": "สวัสดีชาวโลก",
    "emoji and symbols": "😀👨\u200d👩\u200d👧 🇩🇪 ☕\ufe0f © € ∞ →",
}

RANDOM = "random tokens"
"""The name of the sequence that goes as far as both graphs are looked at."""

SINGLE_STEPS = 16
"""Its last tokens, which are read one by one, as an answer is."""

_WORK = 2**41
"""Tokens times weights that a graph is made to read: some 4,000 tokens of half a billion weights."""

_LEAST, _MOST = 1024, 8192
_COLUMNS = 2048
"""Tokens of the vocabulary whose logits are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeNoise:
    """A variant's logits beside its fp32 reference export's, on one text or one stretch of the random tokens."""

    name: str
    """`Cyrillic`, or `random tokens 257 to 1024`."""

    noise: float | None
    """Median over positions of the logits' error, as a share of their spread; None where one is not finite."""

    worst_noise: float | None
    """The largest one, likewise."""

    worst_token: int
    """Number of the token behind which it is, from 1."""

    not_finite_token: int | None
    """Number of the first token behind which a logit of the variant is not finite; None where all are."""

    is_reference_finite: bool
    """Whether the reference export's own logits are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeComparison:
    """All that a variant was asked beside its fp32 reference export."""

    probes: tuple[ProbeNoise, ...]

    tokens: int
    """How far the longest sequence went."""

    context_length: int
    """How far it could have gone, in tokens."""

    @property
    def summary(self) -> str:
        """How far was looked, and what was found, in a line."""
        far = f"{self.tokens:,} tokens" + ("" if self.tokens >= self.context_length - 1 else " of its context of ")
        far += "" if self.tokens >= self.context_length - 1 else f"{self.context_length:,}"
        texts = [probe for probe in self.probes if not probe.name.startswith(RANDOM)]
        largest = max((probe.noise for probe in self.probes if probe.noise is not None), default=None)
        told = "" if largest is None else f"; its logits are off by {largest:.2g} of their spread at most"
        return f"compared with its fp32 reference export on {len(texts)} texts and as far as {far}{told}"

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> ProbeComparison:
        """What `dataclasses.asdict` made of one."""
        return cls(**{**plain, "probes": tuple(ProbeNoise(**probe) for probe in plain["probes"])})


def reach(context_length: int, weights: int) -> int:
    """Tokens up to which a graph of so many weights is read: its whole context, unless that would take minutes."""
    affordable = min(max(_LEAST, _WORK // max(1, weights)), _MOST)
    return min(context_length - 1, affordable)


def sequences(encode: Callable[[str], Sequence[int]], vocabulary_size: int, length: int) -> dict[str, tuple[int, ...]]:
    """What is read, by name: the texts, and every token of the vocabulary in random order, as many as are wanted."""
    chance = np.random.default_rng(0)
    rounds = -(-length // vocabulary_size)
    tokens = np.concatenate([chance.permutation(vocabulary_size) for _ in range(rounds)])[:length]
    texts = {name: tuple(encode(text))[:length] for name, text in TEXTS.items()}
    return {**{name: ids for name, ids in texts.items() if ids}, RANDOM: tuple(int(token) for token in tokens)}


def read_rows(begin: Callable[[int], Cursor], asked: Mapping[str, Sequence[int]], vocabulary_size: int) -> Rows:
    """What a graph says of each sequence; `begin` gives a cursor for so many tokens at most.

    Raises:
        SessionError: the runtime fails.
    """
    chance = np.random.default_rng(1)
    columns = np.sort(chance.permutation(vocabulary_size)[:_COLUMNS])
    return {name: _read(begin(len(ids) + 1), ids, columns) for name, ids in asked.items()}


def _read(cursor: Cursor, token_ids: Sequence[int], columns: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    kept = []
    for chunk in _chunks(token_ids):
        rows = cursor.append(chunk, keep=len(chunk))
        sample = rows[:, columns[columns < rows.shape[1]]]
        sample[~np.isfinite(rows).all(axis=1)] = np.nan
        kept.append(sample)
    return np.concatenate(kept)


def _chunks(token_ids: Sequence[int]) -> Iterator[Sequence[int]]:
    at_once = _at_once(len(token_ids))
    for start in range(0, at_once, CHUNK_TOKENS):
        yield token_ids[start : min(start + CHUNK_TOKENS, at_once)]
    yield from ([token] for token in token_ids[at_once:])


def _at_once(length: int) -> int:
    """Tokens of a sequence that are read in chunks; those behind them are read one by one."""
    return length - SINGLE_STEPS if length > CHUNK_TOKENS else length


def compare_rows(reference: Rows, candidate: Rows) -> tuple[ProbeNoise, ...]:
    """The noise on each text and on each stretch of the random tokens."""
    found = []
    for name, theirs in reference.items():
        ours = candidate[name]
        for stretch, part in _stretches(name, len(theirs)):
            found.append(_probe_noise(stretch, part.start, theirs[part], ours[part]))
    return tuple(found)


def _stretches(name: str, length: int) -> Iterator[tuple[str, slice]]:
    """A text as a whole; random tokens up to each power of four, and those that are read one by one."""
    if name != RANDOM:
        yield name, slice(0, length)
        return
    edges = sorted({*(edge for edge in (0, 64, 256, 1024, 4096) if edge < length), _at_once(length), length})
    for start, end in pairwise(edges):
        yield f"{name} {start + 1} to {end}", slice(start, end)


def _probe_noise(
    name: str, start: int, reference: npt.NDArray[np.float32], candidate: npt.NDArray[np.float32]
) -> ProbeNoise:
    noise = logit_noise(reference, candidate)
    broken = np.flatnonzero(~np.isfinite(candidate).all(axis=1))
    worst = int(broken[0] if broken.size else noise.argmax())
    return ProbeNoise(
        name=name,
        noise=_number(float(np.median(noise))),
        worst_noise=_number(float(noise.max())),
        worst_token=start + worst + 1,
        not_finite_token=start + int(broken[0]) + 1 if broken.size else None,
        is_reference_finite=bool(np.isfinite(reference).all()),
    )


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def save_rows(rows: Rows, folder: Path) -> None:
    """Write rows into a folder."""
    for number, values in enumerate(rows.values()):
        np.save(folder / f"{number}.npy", values)


def load_rows(names: Sequence[str], folder: Path) -> Rows:
    """Read what `save_rows` wrote."""
    return {name: np.load(folder / f"{number}.npy", mmap_mode="r") for number, name in enumerate(names)}
