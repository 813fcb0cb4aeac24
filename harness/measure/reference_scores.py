"""What the source model predicts on the pack's texts and on its own right answers: what variants are held against."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.measure.verified_session import Tokens
from harness.pack.choose import spread
from harness.pack.schema import Case, DomainPack
from harness.runtime.verified import Rows, SteppingSession, read_rows
from harness.stats.divergence import log_normaliser, nll_of
from harness.stats.sparse import SparseRows, sparsify
from harness.system.hashing import digest_of
from harness.system.progress import Step, silent_step

_ANSWERS = 60
"""Right answers that are scored, where there are so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredSequence:
    """Tokens whose positions are scored."""

    id: str
    token_ids: tuple[int, ...]
    """In the source's tokens: its tokenizer's of a text, its own of an answer."""

    first: int
    """Place of the first token that is scored by what is predicted behind it; all further ones are, but the last."""

    is_answer: bool
    """Scored on a right answer after its prompt, rather than on running text."""

    @property
    def read(self) -> Sequence[int]:
        """What a model reads: the last token predicts nothing that is known."""
        return self.token_ids[:-1]

    @property
    def count(self) -> int:
        """Positions that are scored."""
        return len(self.token_ids) - 1 - self.first

    def targets(self, start: int, count: int) -> npt.NDArray[np.int64]:
        """The tokens that really follow those from `start` on, shape [count]."""
        return np.asarray(self.token_ids[start + 1 : start + 1 + count], dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceScores:
    """The source model's predictions on the pack's texts and answers."""

    sequences: tuple[ScoredSequence, ...]
    rows: SparseRows
    """Of all sequences, one after the other."""

    nll_nats: npt.NDArray[np.float64]
    """The source model's negative log-likelihood of the token that really follows, shape [positions]."""

    def by_sequence(self) -> Iterator[tuple[ScoredSequence, SparseRows, npt.NDArray[np.float64]]]:
        """Each sequence with its rows and the log-likelihoods of its tokens."""
        place = 0
        for sequence in self.sequences:
            yield sequence, self.rows.part(place, sequence.count), self.nll_nats[place : place + sequence.count]
            place += sequence.count

    def part(self, numbers: Sequence[int]) -> ReferenceScores:
        """Some of the sequences, by their numbers."""
        every = list(self.by_sequence())
        return ReferenceScores(
            sequences=tuple(every[number][0] for number in numbers),
            rows=SparseRows.joined([every[number][1] for number in numbers]),
            nll_nats=np.concatenate([every[number][2] for number in numbers]),
        )

    def shuffled(self, seed: int = 0) -> ReferenceScores:
        """The same in an order in which answers and texts take turns: any beginning stands for the whole."""
        generator, placed = np.random.default_rng(seed), []
        for is_answer in (True, False):
            kind = [number for number, sequence in enumerate(self.sequences) if sequence.is_answer is is_answer]
            order = generator.permutation(kind)
            placed += [((place + 0.5) / len(kind), int(number)) for place, number in enumerate(order)]
        return self.part([number for _, number in sorted(placed)]) if placed else self

    def some(self, tokens: int) -> ReferenceScores:
        """As many sequences as have so many tokens together, of right answers and of texts; at least one of each."""
        kept: list[int] = []
        for is_answer in (True, False):
            kind = [number for number, sequence in enumerate(self.sequences) if sequence.is_answer is is_answer]
            read = np.cumsum([len(self.sequences[number].token_ids) for number in kind])
            kept += kind[: max(1, int(np.searchsorted(read, tokens, side="right")))]
        return self.part(kept)

    def save(self, folder: Path) -> None:
        """Write all into a folder."""
        self.rows.save(folder / "rows.npz")
        np.save(folder / "nll.npy", self.nll_nats)
        rows = "\n".join(json.dumps(asdict(sequence)) for sequence in self.sequences)
        (folder / "sequences.jsonl").write_text(rows, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> ReferenceScores:
        """Read what `save` wrote."""
        lines = (folder / "sequences.jsonl").read_text(encoding="utf-8").split("\n")
        return cls(
            sequences=tuple(_sequence(json.loads(line)) for line in lines),
            rows=SparseRows.load(folder / "rows.npz"),
            nll_nats=np.load(folder / "nll.npy"),
        )


def _sequence(row: dict[str, Any]) -> ScoredSequence:
    return ScoredSequence(**{**row, "token_ids": tuple(row["token_ids"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scores:
    """A model's predictions at the scored positions of one sequence."""

    rows: SparseRows
    nll_nats: npt.NDArray[np.float64]
    """Of the tokens that really follow, shape [positions]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoresOnTheWay:
    """Scores answers while they are asked, so that what has been read for an answer is not read again."""

    prompts: frozenset[Tokens]
    """Whose answers are worth scoring."""

    found: dict[Tokens, _Scores] = field(default_factory=dict)
    """By prompt and answer, the end token left out."""

    def see(self, prompt: Tokens, draft: Tokens, rows: Rows) -> None:
        """Take the logits that the tokens of a draft were compared with, shape [draft tokens, vocabulary]."""
        if prompt not in self.prompts:
            return
        for count in {len(draft), len(draft) - 1} - {0, -1}:
            read = (*prompt, *draft[:count])
            self.found[read] = _scores(read, len(prompt) - 1, rows[:count])


def answers_to_score(pack: DomainPack) -> tuple[Case, ...]:
    """The cases whose answers are scored where the source model has them right."""
    return spread([case for case in pack.cases if case.expected is not None], _ANSWERS)


def score_reference(
    session: SteppingSession,
    pack: DomainPack,
    answers: Mapping[str, tuple[Tokens, Tokens]],
    *,
    on_the_way: ScoresOnTheWay | None = None,
    step: Step = silent_step,
) -> ReferenceScores:
    """Score the pack's texts and up to 60 right answers with the source model.

    `answers` maps case ids to prompts and right answers in the tokens that the model gave: another way to write the
    same JSON would measure surprise at spaces. What was scored `on_the_way` is not read again.
    """
    sequences = _sequences(session, pack, answers)
    known = {} if on_the_way is None else on_the_way.found
    cursor = session.cursor(longest(sequences))
    parts: list[_Scores] = []
    for done, sequence in enumerate(sequences, 1):
        found = known.get(sequence.token_ids) if sequence.is_answer else None
        parts += (
            [found]
            if found
            else [
                _scores(sequence.token_ids, start, rows)
                for start, rows in read_rows(cursor, sequence.read, sequence.first)
            ]
        )
        step(done, len(sequences))
    return ReferenceScores(
        sequences=sequences,
        rows=SparseRows.joined([part.rows for part in parts]),
        nll_nats=np.concatenate([part.nll_nats for part in parts]),
    )


def _scores(token_ids: Sequence[int], start: int, rows: Rows) -> _Scores:
    """Of rows behind `token_ids[start:]`; the drawn tokens follow from the tokens read, not from when they are read."""
    targets = np.asarray(token_ids[start + 1 : start + 1 + len(rows)], dtype=np.int64)
    seed = int(digest_of([list(token_ids), start])[:8], 16)
    normaliser = log_normaliser(rows)
    return _Scores(rows=sparsify(rows, seed=seed, normaliser=normaliser), nll_nats=nll_of(rows, targets, normaliser))


def _sequences(
    session: SteppingSession, pack: DomainPack, answers: Mapping[str, tuple[Tokens, Tokens]]
) -> tuple[ScoredSequence, ...]:
    found = []
    for text in pack.texts:
        ids = tuple(session.encode(text.text)[: session.context_length - 1])
        found.append(ScoredSequence(id=text.id, token_ids=ids, first=0, is_answer=False))
    for case_id in _scored_cases(pack, answers):
        prompt, answer = answers[case_id]
        ids = (*prompt, *answer)
        found.append(ScoredSequence(id=case_id, token_ids=ids, first=len(prompt) - 1, is_answer=True))
    return tuple(sequence for sequence in found if sequence.count > 0)


def _scored_cases(pack: DomainPack, answers: Mapping[str, object]) -> list[str]:
    """Ids in the order of the pack: those that were to be scored, and others in place of wrong answers."""
    first = [case.id for case in answers_to_score(pack) if case.id in answers]
    others = [case.id for case in pack.cases if case.id in answers and case.id not in first]
    chosen = {*first, *spread(others, _ANSWERS - len(first))}
    return [case.id for case in pack.cases if case.id in chosen]


def longest(sequences: Sequence[ScoredSequence]) -> int:
    """Tokens of the longest sequence; 1 where there is none."""
    return max((len(sequence.token_ids) for sequence in sequences), default=1)
