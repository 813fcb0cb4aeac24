"""Durations as people type them."""

from __future__ import annotations

import re
from typing import Final

from harness.errors import ConfigError

_UNITS_S: Final = {"h": 3600.0, "m": 60.0, "s": 1.0}


def parse_duration_s(text: str, *, where: str) -> float:
    """`8h`, `90m`, `1h30m`, `45s` in seconds.

    >>> parse_duration_s("1h30m", where="--soak")
    5400.0

    Raises:
        ConfigError: it is no duration, or none at all.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms])", text)
    total_s = sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or not total_s > 0:
        raise ConfigError(f"{text!r} is no duration", where=where, next_step="say 8h, 90m, 1h30m or 45s")
    return total_s
