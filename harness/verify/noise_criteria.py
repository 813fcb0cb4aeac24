"""How much noise rounding may put into the logits, by precision, and where noise that stands out is no rounding.

Measured of 209 healthy variants (docs/graphs.md): no text and no stretch of a context had more than 2.3 times the
median noise of all of them, and no single position more than 9 times.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import quantiles

from harness.artifact.artifact import Artifact
from harness.artifact.facts import precision_of
from harness.verify.fidelity import Fidelity
from harness.verify.finding import FidelityFinding
from harness.verify.probes import ProbeComparison, ProbeNoise


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limits:
    """Noise in shares of the logits' spread."""

    least: float
    """No less is ever too much, however little there is elsewhere."""

    most: float
    """More is always too much."""

    times: float
    """How many times the usual noise is too much in between."""

    def limit(self, usual: float) -> float:
        """The most, where as much as this is usual."""
        return min(max(self.least, self.times * usual), self.most)


_TIMES, _TIMES_AT_ONE_POSITION = 5.0, 15.0

_OF_TEXTS = {
    "fp32": _Limits(least=1e-3, most=1e-3, times=_TIMES),
    "fp16": _Limits(least=0.02, most=0.05, times=_TIMES),
    "int8": _Limits(least=0.1, most=0.4, times=_TIMES),
    "int4": _Limits(least=0.3, most=1.0, times=_TIMES),
}
"""Of the median over a text: seen were 2e-3 in fp16, 0.06 in int8, 0.6 in int4; 1 is as much noise as signal."""

_OF_POSITIONS = {
    "fp32": _Limits(least=1e-2, most=1e-2, times=_TIMES_AT_ONE_POSITION),
    "fp16": _Limits(least=0.2, most=0.5, times=_TIMES_AT_ONE_POSITION),
    "int8": _Limits(least=0.5, most=1.0, times=_TIMES_AT_ONE_POSITION),
    "int4": _Limits(least=1.0, most=1.8, times=_TIMES_AT_ONE_POSITION),
}
"""Of one position: seen were 0.01 in fp16, 0.2 in int8, 1.4 in int4; another sign is 2, and in the noisiest int4 that
was tried 1.90 to 2.02, as noise is a part of both."""

_WAY_OUT = (
    "its graph does something with these tokens or positions that its source does not: convert it again, and if it "
    "stays so, report it to whoever wrote the converter"
)


def probe_findings(
    artifact: Artifact, comparison: ProbeComparison, *, is_transformed: bool = False
) -> list[FidelityFinding]:
    """A variant whose logits are not its reference export's, rounded, on some text or some way into its context."""
    told = [*_not_finite(comparison.probes), *_too_noisy(artifact, comparison.probes, is_transformed)]
    if not told:
        return []
    what = "; ".join(told[:2]) + (f"; and {len(told) - 2} more of these" if len(told) > 2 else "")
    return [FidelityFinding(what=f"{artifact.variant} {what}", where=str(artifact.path), next_step=_WAY_OUT)]


def noise_findings(artifact: Artifact, found: Fidelity, *, is_transformed: bool = False) -> list[FidelityFinding]:
    """The same of a variant that has only its source's logits to compare with, near and far."""
    near, far = (math.nan if noise is None else noise for noise in (found.short_noise, found.long_noise))
    limit = _limits(_OF_TEXTS, artifact, is_transformed).limit(min(near, far))
    if near <= limit and far <= limit:
        return []
    return [
        FidelityFinding(
            what=f"{artifact.variant}'s logits are off by {near:.2g} of their spread at short and "
            f"{far:.2g} at long positions, where rounding to {precision_of(artifact.facts)} costs "
            f"{limit:.2g} at most",
            where=str(artifact.path),
            next_step="convert it again from the source as it is now",
        )
    ]


def _not_finite(probes: Sequence[ProbeNoise]) -> Iterator[str]:
    for probe in probes:
        if not probe.is_reference_finite:
            yield f"has a reference export whose logits are NaN or infinite on {probe.name}, unquantised as it is"
        elif probe.not_finite_token is not None:
            yield f"gives logits that are NaN or infinite behind token {probe.not_finite_token:,} ({probe.name})"
        elif probe.noise is None or probe.worst_noise is None:
            yield f"gives logits that cannot be compared on {probe.name}: its reference export prefers no token there"


def _too_noisy(artifact: Artifact, probes: Sequence[ProbeNoise], is_transformed: bool) -> Iterator[str]:
    finite = [probe for probe in probes if probe.noise is not None and probe.worst_noise is not None]
    if not finite:
        return
    usual = _usual([probe.noise or 0.0 for probe in finite])
    of_texts = _limits(_OF_TEXTS, artifact, is_transformed).limit(usual)
    of_positions = _limits(_OF_POSITIONS, artifact, is_transformed).limit(usual)
    for probe in finite:
        noise, worst = probe.noise or 0.0, probe.worst_noise or 0.0
        if noise > of_texts:
            yield f"has logits that are off by {noise:.2g} of their spread on {probe.name} ({_beside(usual, of_texts)})"
        elif worst > of_positions:
            yield (
                f"has logits that are off by {worst:.2g} of their spread behind token {probe.worst_token:,} of "
                f"{probe.name} ({_beside(usual, of_positions)})"
            )


def _usual(noises: Sequence[float]) -> float:
    """What a quarter of the texts stays below: faults may be in most of them."""
    return quantiles(noises, n=4, method="inclusive")[0] if len(noises) > 1 else noises[0]


def _beside(usual: float, limit: float) -> str:
    return f"{usual:.2g} is usual for it, {limit:.2g} the most"


def _limits(table: dict[str, _Limits], artifact: Artifact, is_transformed: bool) -> _Limits:
    """Weights that were trained on while they were quantised may be as far off as int4."""
    precision = "int4" if is_transformed else precision_of(artifact.facts)
    return table.get(precision, table["int4"])
