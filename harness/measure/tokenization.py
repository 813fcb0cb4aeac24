"""How many of a domain's own texts a runtime tokenises otherwise than the model was trained with, and what that costs.

The share decides whether a variant passes. The cost is measured on the source model: what it says of the runtime's
token ids against what it says of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from harness.errors import InvalidPromptError
from harness.metrics.measurement import Measured, Measurement
from harness.pack.choose import spread
from harness.prompts.token_causes import TokenDifference, TokenizerFile, compare_ids, describe_differences
from harness.stats.divergence import diverge
from harness.stats.estimate import Estimate
from harness.system.hashing import digest_of
from harness.system.store import cached_json

METRIC = "tokenizer_difference_rate"
COST_TEXTS = 8
"""Differing texts whose cost is measured, spread over all of them."""

COST_TOKENS = 24
"""Longest answer that is compared."""

_FORMAT = 1


class Encoder(Protocol):
    """What tokenises."""

    def encode(self, text: str) -> Sequence[int]:
        """Token ids of a text."""
        ...


class Continuation(Protocol):
    """A place in the source model's reading: `harness.runtime.session.Cursor`."""

    def append(self, token_ids: Sequence[int], *, keep: int) -> npt.NDArray[np.float32]:
        """Logits behind the last `keep` of these tokens, shape [keep, vocabulary]."""
        ...

    def generate(self, count: int, end_ids: frozenset[int]) -> list[int]:
        """Up to `count` greedy tokens that follow."""
        ...


class SourceReader(Protocol):
    """The source model, which reads token ids."""

    context_length: int
    end_ids: frozenset[int]

    def cursor(self, max_length: int) -> Continuation:
        """A place to read tokens; a new one ends the one before."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainText:
    """A text of the domain, as the source model tokenises it."""

    kind: str
    """`prompt`, `answer` or `text`."""

    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizationCost:
    """What the source model makes of one text with the runtime's token ids."""

    kind: str
    text: str
    kld_nats: float
    """D_KL(own ids || runtime's ids) of the source model behind the last token."""

    is_same_answer: bool
    """Whether its greedy continuation, up to 24 tokens, is the same."""


def differing_texts(
    texts: Sequence[DomainText], runtime: Encoder, tokenizer: TokenizerFile
) -> list[tuple[DomainText, TokenDifference]]:
    """The texts to which the runtime gives other ids, with the difference."""
    found = []
    for one in texts:
        difference = compare_ids(one.text, one.ids, _encoded(runtime, one.text), tokenizer)
        if difference is not None:
            found.append((one, difference))
    return found


def measure_tokenization(
    texts: Sequence[DomainText],
    differing: Sequence[tuple[DomainText, TokenDifference]],
    costs: Sequence[TokenizationCost] = (),
) -> Measured:
    """The share of differing texts: a count of all there are, so that it has no interval; missing without a text."""
    if not texts:
        missing = Estimate.missing("the domain has no text")
        return Measured(measurement=Measurement(estimates={METRIC: missing}))
    share = Estimate(value=len(differing) / len(texts), n=len(texts), method="a count")
    details = {METRIC: _details(texts, differing, costs)}
    return Measured(
        measurement=Measurement(estimates={METRIC: share}, details=details), samples={"tokenization_costs": costs}
    )


def measure_cost(
    differing: Sequence[tuple[DomainText, TokenDifference]],
    open_source: Callable[[], SourceReader],
    *,
    source_digest: str,
    versions: Mapping[str, str],
    cache: Path,
) -> list[TokenizationCost]:
    """What some differing texts cost, from the cache or measured; those that the runtime refuses have no ids.

    Raises:
        SessionError: the source model cannot be asked.
    """
    usable = [(one, difference.found) for one, difference in differing if difference.found and one.ids]
    chosen = spread(usable, COST_TEXTS)
    if not chosen:
        return []
    asked = [[one.kind, one.text, list(one.ids), list(found)] for one, found in chosen]
    key = digest_of([_FORMAT, source_digest, dict(versions), asked])

    def measure() -> list[dict[str, Any]]:
        source = open_source()
        try:
            return [asdict(_cost(source, one, found)) for one, found in chosen]
        finally:
            source.close()

    return [TokenizationCost(**one) for one in cached_json(cache / "tokenization_costs" / key, measure)]


def _cost(source: SourceReader, one: DomainText, found: Sequence[int]) -> TokenizationCost:
    own, runtimes = (_continued(source, ids) for ids in (one.ids, found))
    kld = float(diverge(own[0], runtimes[0], np.zeros(1, dtype=np.int64)).kld_nats[0])
    return TokenizationCost(kind=one.kind, text=one.text, kld_nats=kld, is_same_answer=own[1] == runtimes[1])


def _continued(source: SourceReader, ids: Sequence[int]) -> tuple[npt.NDArray[np.float32], list[int]]:
    """The logits behind the last token, and what the model goes on with."""
    ids = list(ids)[-(source.context_length - COST_TOKENS - 1) :]
    cursor = source.cursor(len(ids) + COST_TOKENS)
    return cursor.append(ids, keep=1), cursor.generate(COST_TOKENS, source.end_ids)


def _encoded(runtime: Encoder, text: str) -> Sequence[int] | None:
    try:
        return runtime.encode(text)
    except InvalidPromptError:
        return None


def _details(
    texts: Sequence[DomainText],
    differing: Sequence[tuple[DomainText, TokenDifference]],
    costs: Sequence[TokenizationCost],
) -> str:
    counts = Counter(one.kind for one, _ in differing)
    totals = Counter(one.kind for one in texts)
    told = ", ".join(f"{counts[kind]} of {total} {kind}s" for kind, total in totals.items())
    if not differing:
        return f"other token ids: {told}"
    lines = [f"other token ids: {told}", describe_differences([one for _, one in differing], most=3)]
    if costs:
        same = sum(cost.is_same_answer for cost in costs)
        mean, worst = float(np.mean([one.kld_nats for one in costs])), max(one.kld_nats for one in costs)
        lines.append(
            f"cost on the source model, {len(costs)} of them: {mean:.3g} nats behind the last token on average, "
            f"{worst:.3g} at most; {same} of {len(costs)} answers the same"
        )
    lines.append("tokenizer.json is compared apart; where it is the source's, converting again changes nothing")
    return "\n".join(lines)
