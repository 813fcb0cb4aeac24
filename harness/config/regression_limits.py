"""How much worse than its baseline a variant may be, where gate.toml does not say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from harness.config.limits import Limit

TOLERANCE: Final = 0.015
"""Slowdown that is none yet: half of the smallest one that is to be found."""

RATIOS: Final = ("e2e_ratio", "ttft_ratio", "itl_ratio")
"""Metrics of a comparison of speed, candidate to baseline."""


def ratio_limits(tolerance: float = TOLERANCE) -> dict[str, Limit]:
    """How much slower a candidate may be: the whole interval must lie below, or none of it."""
    reason = f"slower by up to {100 * tolerance:g} % counts as the same: smaller differences are of no use to users"
    return {name: Limit(max=1 + tolerance, judge="bound", reason=reason) for name in RATIOS}


REGRESSION_LIMITS: Final[Mapping[str, Limit]] = {
    **ratio_limits(),
    "baseline_loss_points": Limit(
        max=2.0,
        judge="bound",
        reason="the interval of an unchanged answer sheet of some 200 cases reaches to 2 points",
    ),
    "size_ratio": Limit(max=1.02, reason="a new exporter may write a little more around the same weights"),
    "peak_rss_ratio": Limit(max=1.05, reason="two readings of one model, each in a fresh process, differ a little"),
    "leak_increase_bytes_per_request": Limit(
        max=16.0, reason="what the leak suite tells from the noise of a healthy process"
    ),
}
"""Judged where `--baseline` is given; a limit of the same name in gate.toml wins."""
