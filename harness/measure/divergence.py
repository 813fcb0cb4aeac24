"""How far a variant's predictions lie from the source model's, position by position."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.measure.verified_session import VerifiedSession
from harness.metrics.measurement import Measured, Measurement
from harness.metrics.units import Unit, format_value
from harness.pack.choose import spread
from harness.pack.schema import DomainPack
from harness.runtime.verified import Cursor, SteppingSession, read_rows
from harness.stats.divergence import Divergence, joined, nll_of
from harness.stats.estimate import Estimate
from harness.stats.means import clustered_mean
from harness.stats.quantiles import clustered_quantile
from harness.stats.sparse import SparseRows, diverge_from, sparsify
from harness.system.progress import SILENT, Progress, Step, silent_step

_FORMAT = 1
_ANSWERS = 60
_SHOWN = 3
_OF_ANSWERS = ("answer_kld_mean_nats", "answer_top1_agreement", "perplexity", "perplexity_ratio")
"""What is measured where the source model gives a right answer: what quantisation costs the domain."""

_NO_ANSWER = Estimate.missing("the source model gives no right answer to score")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredSequence:
    """Tokens whose positions are scored."""

    id: str
    text: str
    """What was tokenised."""

    token_ids: tuple[int, ...]
    """The source tokenizer's ids of `text`."""

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

    def some(self, tokens: int) -> ReferenceScores:
        """As many sequences as have so many tokens together, of right answers and of texts; at least one of each."""
        starts = np.cumsum([0, *(sequence.count for sequence in self.sequences)])
        kept: list[int] = []
        for is_answer in (True, False):
            kind = [number for number, sequence in enumerate(self.sequences) if sequence.is_answer is is_answer]
            read = np.cumsum([len(self.sequences[number].token_ids) for number in kind])
            kept += kind[: max(1, int(np.searchsorted(read, tokens, side="right")))]
        places = [(int(starts[number]), self.sequences[number].count) for number in kept]
        return ReferenceScores(
            sequences=tuple(self.sequences[number] for number in kept),
            rows=SparseRows.joined([self.rows.part(start, count) for start, count in places]),
            nll_nats=np.concatenate([self.nll_nats[start : start + count] for start, count in places]),
        )

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


def score_reference(
    session: SteppingSession, pack: DomainPack, answers: Mapping[str, str], step: Step = silent_step
) -> ReferenceScores:
    """Score the pack's texts and up to 60 right answers with the source model.

    `answers` maps case ids to right answers as the model writes them: another way to write the same JSON would measure
    surprise at spaces.
    """
    sequences = _sequences(session, pack, answers)
    cursor = session.cursor(_longest(sequences))
    parts: list[SparseRows] = []
    nll: list[npt.NDArray[np.float64]] = []
    for done, sequence in enumerate(sequences, 1):
        for start, rows in read_rows(cursor, sequence.read, sequence.first):
            parts.append(sparsify(rows, seed=len(parts)))
            nll.append(nll_of(rows, sequence.targets(start, len(rows))))
        step(done, len(sequences))
    return ReferenceScores(
        sequences=sequences,
        rows=SparseRows.joined(parts),
        nll_nats=np.concatenate(nll) if nll else np.zeros(0),
    )


def _sequences(session: SteppingSession, pack: DomainPack, answers: Mapping[str, str]) -> tuple[ScoredSequence, ...]:
    found = []
    for text in pack.texts:
        ids = tuple(session.encode(text.text)[: session.context_length - 1])
        found.append(ScoredSequence(id=text.id, text=text.text, token_ids=ids, first=0, is_answer=False))
    answered = [case for case in pack.cases if answers.get(case.id)]
    for case in spread(answered, _ANSWERS):
        prompt = session.render(pack.conversation(case.messages))
        full = prompt + answers[case.id]
        first, ids = len(session.encode(prompt)) - 1, tuple(session.encode(full))
        found.append(ScoredSequence(id=case.id, text=full, token_ids=ids, first=first, is_answer=True))
    return tuple(sequence for sequence in found if sequence.count > 0)


def _longest(sequences: Sequence[ScoredSequence]) -> int:
    return max((len(sequence.token_ids) for sequence in sequences), default=1)


def measure_divergence(
    session: SteppingSession, reference: ReferenceScores, *, progress: Progress = SILENT
) -> Measured:
    """KL divergence, top-1 agreement and perplexity of a candidate on what the source model was scored on.

    Raises:
        MeasureError: the candidate's tokenizer gives other ids, or a logit is not finite.
    """
    found = compare_with_reference(session, reference, progress.step("divergence"))
    estimates = divergence_estimates(found)
    of_all = f"{found.kld_nats.size} positions of {len(reference.sequences)} texts and answers{_drawn(found)}"
    of_answers = f"{int(found.is_answer.sum())} tokens of right answers"
    details = {
        **dict.fromkeys(("kld_mean_nats", "kld_p99_nats"), f"{of_all}; most in {_worst(found, reference)}"),
        "top1_agreement": of_all,
        **dict.fromkeys(_OF_ANSWERS, of_answers),
    }
    return Measured(
        measurement=Measurement(estimates=estimates, details=details),
        samples={"kld_nats": [round(float(value), 9) for value in found.kld_nats]},
        of_source={"perplexity": _source_perplexity(found)},
    )


def divergence_estimates(found: Divergence) -> dict[str, Estimate]:
    """`kld_mean_nats`, `kld_p99_nats`, `top1_agreement` over all positions; those in `_OF_ANSWERS` over answer tokens.

    Perplexity is exp(mean negative log-likelihood); its ratio to the source model's is exp(mean difference of the
    two on the same tokens). Intervals are over sequences, whose positions resemble each other. A metric without a
    position is missing.
    """
    return {
        "kld_mean_nats": _mean_kld(found),
        "kld_p99_nats": clustered_quantile(found.kld_nats, found.cluster, 99),
        "top1_agreement": _agreement(found),
        **(_answer_estimates(found) if found.is_answer.any() else dict.fromkeys(_OF_ANSWERS, _NO_ANSWER)),
    }


def _answer_estimates(found: Divergence) -> dict[str, Estimate]:
    answers = found.where(found.is_answer)
    return {
        "answer_kld_mean_nats": _mean_kld(answers),
        "answer_top1_agreement": _agreement(answers),
        "perplexity": _perplexity(answers, answers.nll_nats),
        "perplexity_ratio": _perplexity(answers, answers.nll_nats - answers.reference_nll_nats),
    }


def _mean_kld(found: Divergence) -> Estimate:
    return clustered_mean(found.kld_nats, found.cluster).map(lambda nats: max(nats, 0.0))


def _agreement(found: Divergence) -> Estimate:
    mean = clustered_mean(found.is_same_top.astype(np.float64), found.cluster)
    return mean.map(lambda share: min(max(share, 0.0), 1.0))


def _drawn(found: Divergence) -> str:
    """What the tokens that were only drawn from the reference add to the mean's uncertainty."""
    error = float(np.sqrt((found.kld_error_nats**2).sum()) / max(1, found.kld_nats.size))
    return f", known to {format_value(Unit.NATS, error)} nats" if error > 0 else ""


def _perplexity(found: Divergence, nll_nats: npt.NDArray[np.float64]) -> Estimate:
    return clustered_mean(nll_nats, found.cluster).map(_exp)


def _source_perplexity(found: Divergence) -> Estimate:
    answers = found.where(found.is_answer)
    return _perplexity(answers, answers.reference_nll_nats) if found.is_answer.any() else _NO_ANSWER


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


def compare_with_reference(
    session: SteppingSession, reference: ReferenceScores, step: Step = silent_step
) -> Divergence:
    """Score the same tokens with a candidate and compare graphs, chunk by chunk, whatever its tokenizer makes of texts.

    Raises:
        MeasureError: the candidate's vocabulary or a number is not comparable.
    """
    keep = session.keep if isinstance(session, VerifiedSession) else _compute
    cursor, parts, place = session.cursor(_longest(reference.sequences)), [], 0
    for done, sequence in enumerate(reference.sequences, 1):
        rows, nll_nats = reference.rows.part(place, sequence.count), reference.nll_nats[place : place + sequence.count]
        compare = partial(_compare_sequence, cursor, sequence, rows)
        kept = keep([_FORMAT, list(sequence.token_ids), sequence.first, rows.digest()], compare)
        parts.append(_as_divergence(kept, nll_nats, is_answer=sequence.is_answer, cluster=done - 1))
        place += sequence.count
        step(done, len(reference.sequences))
    return joined(parts)


def _compute(_what: Any, compute: Callable[[], Any]) -> Any:
    return compute()


def _compare_sequence(cursor: Cursor, sequence: ScoredSequence, reference: SparseRows) -> dict[str, list[float]]:
    """The candidate beside the reference at every scored position of a sequence, as plain values."""
    found: dict[str, list[float]] = {name: [] for name in ("kld_nats", "kld_error_nats", "is_same_top", "nll_nats")}
    for start, rows in read_rows(cursor, sequence.read, sequence.first):
        compared = diverge_from(reference.part(start - sequence.first, len(rows)), rows)
        for name in ("kld_nats", "kld_error_nats", "is_same_top"):
            found[name] += getattr(compared, name).tolist()
        found["nll_nats"] += nll_of(rows, sequence.targets(start, len(rows))).tolist()
    return found


def _as_divergence(
    found: Mapping[str, list[float]], reference_nll_nats: npt.NDArray[np.float64], *, is_answer: bool, cluster: int
) -> Divergence:
    count = len(reference_nll_nats)
    return Divergence(
        kld_nats=np.asarray(found["kld_nats"], dtype=np.float64),
        kld_error_nats=np.asarray(found["kld_error_nats"], dtype=np.float64),
        is_same_top=np.asarray(found["is_same_top"], dtype=np.bool_),
        nll_nats=np.asarray(found["nll_nats"], dtype=np.float64),
        reference_nll_nats=reference_nll_nats,
        is_answer=np.full(count, is_answer),
        cluster=np.full(count, cluster, dtype=np.int64),
    )
