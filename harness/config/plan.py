"""How much of the pack is asked: all of it, until its limits are decided, or what a budget of time allows.

A budget bounds what can be cut without becoming wrong: questions, long questions, and the sequences whose divergence is
measured. They come in an order in which every part stands for the whole; a limit that is decided early leaves its time
to the others, a variant to the next one. What was cut is judged by the interval of what was asked. Conversion,
deployment, latency, memory and leaks take what they take, and are counted.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from harness.errors import ConfigError

Part = Literal["questions", "long questions", "divergence"]
IsOver = Callable[[], bool]
"""Whether the time for a part is used up."""

_SHARES: Final[dict[Part, float]] = {"questions": 0.35, "long questions": 0.25, "divergence": 0.5}
"""Of the time that a variant has left when the part begins: the rest is for what cannot be cut."""

ALL_CASES: Final = "all cases"

_AMOUNT: Final = re.compile(r"(\d+(?:\.\d+)?)(s|m|h)")
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}


def never() -> bool:
    """The time that is never used up."""
    return False


@dataclass(kw_only=True)
class Plan:
    """One run's plan, and the clock of its budget, which starts when the plan is made."""

    is_until_decided: bool = False
    """Whether questions end as soon as every quality limit is decided."""

    budget_s: float | None = None
    """What the whole run may take; None for as long as it takes. A budget also stops at decisions."""

    variants: int = 1
    """How many share the budget."""

    clock: Callable[[], float] = time.monotonic
    """In seconds."""

    _began_s: float = field(init=False)
    _begun: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._began_s = self.clock()

    @property
    def told(self) -> str:
        """In words, for the record."""
        if self.budget_s is not None:
            return f"a budget of {self.budget_s / 60:g} min, questions until every quality limit is decided"
        return "questions until every quality limit is decided" if self.is_until_decided else ALL_CASES

    @property
    def is_sequential(self) -> bool:
        """Whether questions may end before all are asked."""
        return self.is_until_decided or self.budget_s is not None

    def part(self, variant: str, part: Part) -> IsOver:
        """Begin a part of a variant; what it returns tells when its share of the time is used up."""
        if variant not in self._begun:
            self._begun.append(variant)
        if self.budget_s is None:
            return never
        now_s = self.clock()
        left_s = max(0.0, self._began_s + self.budget_s - now_s)
        waiting = max(0, self.variants - len(self._begun))
        until_s = now_s + left_s / (1 + waiting) * _SHARES[part]
        return lambda: self.clock() >= until_s


def budget_of(text: str) -> float:
    """Seconds of `20m`, `90s`, `1.5h`.

    Raises:
        ConfigError: it is none of these, or nothing at all.
    """
    found = _AMOUNT.fullmatch(text.strip())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if seconds <= 0:
        raise ConfigError(f"{text!r} is no time", where="--budget", next_step="say --budget 20m, 90s or 1.5h")
    return seconds
