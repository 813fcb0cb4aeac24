"""How far a variant's predictions lie from the source model's, position by position."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.errors import MeasureError
from harness.metrics.measurement import Measured, Measurement
from harness.metrics.units import Unit, format_value
from harness.pack.choose import spread
from harness.pack.pack import DomainPack
from harness.runtime.session import ScoringSession
from harness.stats.divergence import Divergence, diverge, joined
from harness.stats.estimate import Estimate
from harness.stats.means import clustered_mean
from harness.stats.quantiles import clustered_quantile
from harness.system.progress import SILENT, Progress, Step, silent_step

LOGITS_BUDGET_BYTES = 512 * 2**20
"""Most that one source model's reference logits may take on disk; more positions are thinned evenly."""

_ANSWERS = 60
_SHOWN = 3


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


def score_reference(
    session: ScoringSession, pack: DomainPack, answers: Mapping[str, str], step: Step = silent_step
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
    for case in spread(answered, _ANSWERS):
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


def measure_divergence(session: ScoringSession, reference: ReferenceScores, *, progress: Progress = SILENT) -> Measured:
    """KL divergence, top-1 agreement and perplexity of a candidate on what the source model was scored on.

    Raises:
        MeasureError: the candidate's tokenizer gives other ids, or a logit is not finite.
    """
    found = compare_with_reference(session, reference, progress.step("divergence"))
    estimates = divergence_estimates(found)
    of_all = f"{found.kld_nats.size} positions of {len(reference.sequences)} texts and answers"
    of_answers = f"{int(found.is_answer.sum())} tokens of right answers"
    details = {
        **dict.fromkeys(("kld_mean_nats", "kld_p99_nats"), f"{of_all}; most in {_worst(found, reference)}"),
        "top1_agreement": of_all,
        **dict.fromkeys(("perplexity", "perplexity_ratio"), of_answers),
    }
    return Measured(
        measurement=Measurement(estimates=estimates, details=details),
        samples={"kld_nats": [round(float(value), 9) for value in found.kld_nats]},
        of_source={"perplexity": _perplexity(found, found.reference_nll_nats)},
    )


def divergence_estimates(found: Divergence) -> dict[str, Estimate]:
    """`kld_mean_nats`, `kld_p99_nats`, `top1_agreement` over all positions; `perplexity*` over answer tokens.

    Perplexity is exp(mean negative log-likelihood); its ratio to the source model's is exp(mean difference of the
    two on the same tokens). Intervals are over sequences, whose positions resemble each other. A metric without a
    position is missing.
    """
    agreement = clustered_mean(found.is_same_top.astype(np.float64), found.cluster)
    return {
        "kld_mean_nats": clustered_mean(found.kld_nats, found.cluster).map(lambda nats: max(nats, 0.0)),
        "kld_p99_nats": clustered_quantile(found.kld_nats, found.cluster, 99),
        "top1_agreement": agreement.map(lambda share: min(max(share, 0.0), 1.0)),
        "perplexity": _perplexity(found, found.nll_nats),
        "perplexity_ratio": _perplexity(found, found.nll_nats - found.reference_nll_nats),
    }


def _perplexity(found: Divergence, nll_nats: npt.NDArray[np.float64]) -> Estimate:
    if not found.is_answer.any():
        return Estimate.missing("the source model gives no right answer to score")
    return clustered_mean(nll_nats[found.is_answer], found.cluster[found.is_answer]).map(_exp)


def _exp(nats: float) -> float:
    """e to the power of `nats`; infinite where a double cannot hold it."""
    with np.errstate(over="ignore"):
        return float(np.exp(nats))


def _worst(found: Divergence, reference: ReferenceScores) -> str:
    """The three sequences that diverge most, by their mean."""
    means = {
        sequence.id: float(found.kld_nats[found.cluster == number].mean())
        for number, sequence in enumerate(reference.sequences)
    }
    worst = sorted(means, key=lambda name: means[name], reverse=True)[:_SHOWN]
    return ", ".join(f"{name} ({format_value(Unit.NATS, means[name])} nats)" for name in worst)


def compare_with_reference(session: ScoringSession, reference: ReferenceScores, step: Step = silent_step) -> Divergence:
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
    return joined(parts)


def _check_tokens(session: ScoringSession, sequence: ScoredSequence) -> None:
    ids = tuple(session.encode(sequence.text))[: len(sequence.token_ids)]
    if ids != sequence.token_ids:
        at = next((i for i, (a, b) in enumerate(zip(ids, sequence.token_ids, strict=False)) if a != b), len(ids))
        raise MeasureError(
            f"the tokenizer of {session.name} and the source's differ, first at token {at} of {sequence.id!r}",
            next_step="compare tokenizer.json of source and artifact; it must be the same file",
        )
