"""How far a variant's predictions lie from the source model's, position by position."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.errors import MeasureError
from harness.pack import DomainPack
from harness.runtime.session import ScoringSession, Step, no_step

LOGITS_BUDGET_BYTES = 512 * 2**20
"""Most that one source model's reference logits may take on disk; more positions are thinned evenly."""

_ANSWERS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredSequence:
    """Tokens whose positions are scored."""

    id: str
    text: str
    """What was tokenised, for the tokenizer comparison."""

    token_ids: tuple[int, ...]
    """The source tokenizer's ids of `text`."""

    positions: tuple[int, ...]
    """Rows of the logits that are kept; row i predicts token i + 1."""

    is_answer: bool
    """Scored on a right answer after its prompt, rather than on running text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceScores:
    """The source model's logits on the pack's texts and answers."""

    sequences: tuple[ScoredSequence, ...]
    logits: npt.NDArray[np.float32]
    """Rows of all sequences one after the other, shape [kept positions, vocabulary]; may be a memory map."""

    def save(self, folder: Path) -> None:
        """Write both into a folder."""
        np.save(folder / "logits.npy", self.logits)
        rows = "\n".join(json.dumps(asdict(sequence)) for sequence in self.sequences)
        (folder / "sequences.jsonl").write_text(rows, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> ReferenceScores:
        """Read what `save` wrote; the logits stay on disk."""
        rows = (folder / "sequences.jsonl").read_text(encoding="utf-8").split("\n")
        sequences = tuple(_sequence(json.loads(row)) for row in rows)
        return cls(sequences=sequences, logits=np.load(folder / "logits.npy", mmap_mode="r"))


def _sequence(row: dict[str, object]) -> ScoredSequence:
    for key in ("token_ids", "positions"):
        row[key] = tuple(row[key])  # type: ignore[arg-type]
    return ScoredSequence(**row)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """Per-position comparison of a candidate with the reference; every array has one entry per kept position."""

    kld_nats: npt.NDArray[np.float64]
    """D_KL(reference || candidate), natural logarithm (Kullback and Leibler, 1951)."""

    is_same_top: npt.NDArray[np.bool_]
    """Reference and candidate give the same most likely token."""

    nll_nats: npt.NDArray[np.float64]
    """Candidate's negative log-likelihood of the token that really follows."""

    reference_nll_nats: npt.NDArray[np.float64]
    """The same of the reference."""

    is_answer: npt.NDArray[np.bool_]
    """The position predicts a token of a right answer."""

    def metrics(self) -> dict[str, float | None]:
        """`kld_mean_nats`, `kld_p99_nats`, `top1_agreement` over all positions; `perplexity` on answer tokens.

        Perplexity is exp(mean negative log-likelihood). A metric without positions is None.
        """
        if not self.kld_nats.size:
            return dict.fromkeys(
                ("kld_mean_nats", "kld_p99_nats", "top1_agreement", "perplexity", "reference_perplexity")
            )
        return {
            "kld_mean_nats": float(self.kld_nats.mean()),
            "kld_p99_nats": float(np.percentile(self.kld_nats, 99)),
            "top1_agreement": float(self.is_same_top.mean()),
            "perplexity": _perplexity(self.nll_nats[self.is_answer]),
            "reference_perplexity": _perplexity(self.reference_nll_nats[self.is_answer]),
        }


def _perplexity(nll_nats: npt.NDArray[np.float64]) -> float | None:
    return float(np.exp(nll_nats.mean())) if nll_nats.size else None


def score_reference(
    session: ScoringSession, pack: DomainPack, answers: Mapping[str, str], step: Step = no_step
) -> ReferenceScores:
    """Score the pack's texts and up to 60 right answers with the source model.

    `answers` maps case ids to right answers as the model writes them: another way to write the same JSON would measure
    surprise at spaces.
    """
    sequences = _sequences(session, pack, answers)
    rows = []
    for done, sequence in enumerate(sequences, 1):
        rows.append(session.logits(sequence.token_ids)[list(sequence.positions)])
        step(done, len(sequences))
    return ReferenceScores(sequences=sequences, logits=np.concatenate(rows))


def _sequences(session: ScoringSession, pack: DomainPack, answers: Mapping[str, str]) -> tuple[ScoredSequence, ...]:
    found = []
    for text in pack.texts:
        ids = session.encode(text.text)[: session.context_length - 1]
        found.append((text.id, text.text, ids, range(len(ids) - 1), False))
    answered = [case for case in pack.cases if answers.get(case.id)]
    for case in answered[:: max(1, len(answered) // _ANSWERS)]:
        prompt = session.render(pack.conversation(case.messages))
        full = prompt + answers[case.id]
        start, ids = len(session.encode(prompt)), session.encode(full)
        found.append((case.id, full, ids, range(start - 1, len(ids) - 1), True))
    return _thinned(found)


def _thinned(found: list[tuple[str, str, list[int], range, bool]]) -> tuple[ScoredSequence, ...]:
    vocabulary = max((max(ids) for _, _, ids, _, _ in found if ids), default=0) + 1
    total = sum(len(positions) for *_, positions, _ in found)
    stride = max(1, -(-total * vocabulary * 4 // LOGITS_BUDGET_BYTES))
    return tuple(
        ScoredSequence(id=name, text=text, token_ids=tuple(ids), positions=tuple(positions[::stride]), is_answer=answer)
        for name, text, ids, positions, answer in found
        if len(positions) > 0
    )


def compare_with_reference(session: ScoringSession, reference: ReferenceScores, step: Step = no_step) -> Divergence:
    """Score the same tokens with a candidate and compare.

    Raises:
        MeasureError: the candidate's tokenizer gives other ids, or its vocabulary or a number is not comparable.
    """
    parts: list[Divergence] = []
    row = 0
    for done, sequence in enumerate(reference.sequences, 1):
        _check_tokens(session, sequence)
        count = len(sequence.positions)
        ours = session.logits(sequence.token_ids)[list(sequence.positions)]
        theirs = np.asarray(reference.logits[row : row + count])
        targets = np.asarray(sequence.token_ids)[np.asarray(sequence.positions) + 1]
        parts.append(diverge(theirs, ours, targets, is_answer=sequence.is_answer))
        row += count
        step(done, len(reference.sequences))
    return _joined(parts)


def diverge(
    reference: npt.NDArray[np.float32],
    candidate: npt.NDArray[np.float32],
    targets: npt.NDArray[np.int64],
    *,
    is_answer: bool = False,
) -> Divergence:
    """Compare logits of shape [positions, vocabulary]; `targets` are the tokens that really follow, [positions].

    Vocabularies are cut to the shorter one: converters pad them to a multiple of their block.

    Raises:
        MeasureError: a logit is NaN or infinite; it would hide in a mean.
    """
    width = min(reference.shape[1], candidate.shape[1])
    if not np.isfinite(candidate[:, :width]).all():
        raise MeasureError("the model gives logits that are NaN or infinite", next_step="convert it again")
    p, q = _log_softmax(reference[:, :width]), _log_softmax(candidate[:, :width])
    kld = (np.exp(p) * (p - q)).sum(axis=1)
    rows = np.arange(len(targets))
    return Divergence(
        kld_nats=np.maximum(kld, 0.0),  # rounding may give -1e-17
        is_same_top=p.argmax(axis=1) == q.argmax(axis=1),
        nll_nats=-q[rows, targets],
        reference_nll_nats=-p[rows, targets],
        is_answer=np.full(len(targets), is_answer),
    )


def _log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _joined(parts: Sequence[Divergence]) -> Divergence:
    if not parts:
        raise MeasureError("nothing to compare", next_step="put texts into the pack's texts.jsonl")
    names = ("kld_nats", "is_same_top", "nll_nats", "reference_nll_nats", "is_answer")
    return Divergence(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _check_tokens(session: ScoringSession, sequence: ScoredSequence) -> None:
    ids = tuple(session.encode(sequence.text))[: len(sequence.token_ids)]
    if ids != sequence.token_ids:
        at = next((i for i, (a, b) in enumerate(zip(ids, sequence.token_ids, strict=False)) if a != b), len(ids))
        raise MeasureError(
            f"the tokenizer of {session.name} and the source's differ, first at token {at} of {sequence.id!r}",
            next_step="compare tokenizer.json of source and artifact; it must be the same file",
        )
