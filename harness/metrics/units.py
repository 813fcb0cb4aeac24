"""The one place where numbers become text: SI values in, units with prefixes out."""

from __future__ import annotations

import math

_BYTE_PREFIXES = ("B", "KiB", "MiB", "GiB", "TiB")


def format_bytes(value_bytes: float) -> str:
    """`8_388_608` -> `8.0 MiB`; binary prefixes."""
    size = float(value_bytes)
    for prefix in _BYTE_PREFIXES:
        if abs(size) < 1024 or prefix == _BYTE_PREFIXES[-1]:
            break
        size /= 1024
    return f"{size:.0f} B" if prefix == "B" else f"{size:.1f} {prefix}"


def format_seconds(value_s: float) -> str:
    """`0.00731` -> `7.31 ms`; from nanoseconds up to seconds."""
    if value_s == 0:
        return "0 s"
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if abs(value_s) >= factor:
            return f"{value_s / factor:.3g} {unit}"
    return f"{value_s / 1e-9:.3g} ns"


def format_metric(name: str, value: float | None) -> str:
    """Text of a metric by the unit that its name ends in; a missing value is `-`.

    >>> format_metric("ttft_p95_s", 0.0123)
    '12.3 ms'
    """
    if value is None:
        return "-"
    if math.isnan(value):
        return "NaN"
    if name.endswith("_bytes"):
        return format_bytes(value)
    if name.endswith("_bytes_per_request"):
        return f"{value:.1f} B"
    if name.endswith("_per_second"):
        return f"{value:,.0f}/s" if value >= 100 else f"{value:.3g}/s"
    if name.endswith("_s"):
        return format_seconds(value)
    if name.endswith("_nats"):
        return f"{value:.2e}" if abs(value) < 1e-2 else f"{value:.3f}"
    if name.endswith(("_rate", "_agreement")):
        return f"{100 * value:.1f} %"
    if name.endswith("_points"):
        return f"{value:.1f} pt"
    return f"{value:.3g}"
