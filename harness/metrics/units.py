"""The one place where numbers become text: SI values in, units with prefixes out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import StrEnum

_BYTE_PREFIXES = ("B", "KiB", "MiB", "GiB", "TiB")
_DIGITS = range(3, 17)
"""Significant digits from what people read to all that a double has."""


class Unit(StrEnum):
    """What a metric is counted in, in the record and in limits."""

    SECONDS = "s"
    BYTES = "bytes"
    BYTES_PER_REQUEST = "bytes/request"
    BYTES_PER_TOKEN = "bytes/token"
    BYTES_PER_SESSION = "bytes/session"
    BYTES_PER_STREAM = "bytes/stream"
    BYTES_PER_ERROR = "bytes/error"
    BYTES_PER_LOAD = "bytes/load"
    PER_SECOND = "1/s"
    NATS = "nats"
    SHARE = "share"
    """0 to 1; shown in per cent."""

    POINTS = "points"
    """Percentage points."""

    RATIO = "ratio"
    COUNT = "count"
    JOULES = "J"
    YES_NO = "yes/no"
    """1 or 0: a criterion that is met or not."""


def format_bytes(value_bytes: float, digits: int = 3) -> str:
    """`8_388_608` -> `8.0 MiB`; binary prefixes."""
    size = float(value_bytes)
    for prefix in _BYTE_PREFIXES:
        if abs(size) < 1024 or prefix == _BYTE_PREFIXES[-1]:
            break
        size /= 1024
    decimals = digits - 3 if prefix == "B" else digits - 2
    return f"{size:.{decimals}f} {prefix}"


def format_seconds(value_s: float, digits: int = 3) -> str:
    """`0.00731` -> `7.31 ms`; from nanoseconds up to seconds."""
    if value_s == 0:
        return "0 s"
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if abs(value_s) >= factor:
            return f"{value_s / factor:.{digits}g} {unit}"
    return f"{value_s / 1e-9:.{digits}g} ns"


def _format_small_bytes(value: float, digits: int) -> str:
    return f"{value:.{digits - 2}f} B"


def _format_rate(value: float, digits: int) -> str:
    return f"{value:,.{digits - 3}f}/s" if value >= 100 else f"{value:.{digits}g}/s"


def _format_nats(value: float, digits: int) -> str:
    return f"{value:.{digits - 1}e}" if abs(value) < 1e-2 else f"{value:.{digits}f}"


_FORMATS: Mapping[Unit, Callable[[float, int], str]] = {
    Unit.SECONDS: format_seconds,
    Unit.BYTES: format_bytes,
    Unit.BYTES_PER_REQUEST: _format_small_bytes,
    Unit.BYTES_PER_TOKEN: _format_small_bytes,
    Unit.BYTES_PER_SESSION: _format_small_bytes,
    Unit.BYTES_PER_STREAM: _format_small_bytes,
    Unit.BYTES_PER_ERROR: _format_small_bytes,
    Unit.BYTES_PER_LOAD: format_bytes,
    Unit.PER_SECOND: _format_rate,
    Unit.NATS: _format_nats,
    Unit.SHARE: lambda value, digits: f"{100 * value:.{digits - 2}f} %",
    Unit.POINTS: lambda value, digits: f"{value:.{digits - 2}f} pt",
    Unit.RATIO: lambda value, digits: f"{value:.{digits}f}",
    Unit.COUNT: lambda value, _: f"{value:,.0f}",
    Unit.JOULES: lambda value, digits: f"{value:.{digits}g} J",
    Unit.YES_NO: lambda value, _: "yes" if value == 1 else "NO",
}


def format_value(unit: Unit, value: float | None, digits: int = 3) -> str:
    """Text of a number with its unit; a missing one is `-`, and what rounds to zero has no sign.

    >>> format_value(Unit.SECONDS, 0.0123)
    '12.3 ms'
    >>> format_value(Unit.POINTS, -0.01)
    '0.0 pt'
    """
    if value is None:
        return "-"
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    text = _FORMATS[unit](value, digits)
    is_zero = not any(digit in text for digit in "123456789")
    return text.removeprefix("-") if is_zero else text


def format_apart(unit: Unit, value: float | None, edge: float | None) -> tuple[str, str]:
    """Two different numbers with as many digits as it takes for them to look different.

    >>> format_apart(Unit.SHARE, 0.9499, 0.95)
    ('94.99 %', '95.00 %')
    """
    for digits in _DIGITS:
        texts = format_value(unit, value, digits), format_value(unit, edge, digits)
        if value == edge or texts[0] != texts[1]:
            return texts
    return repr(value), repr(edge)
