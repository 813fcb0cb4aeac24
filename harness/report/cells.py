"""What stands in the cells and lines of tables: numbers as people read them, and texts of models and users, escaped."""

from __future__ import annotations

from collections.abc import Sequence

from harness.config.limits import Limit
from harness.metrics.catalogue import METRICS


def format_metric(metric: str, value: float | None) -> str:
    """The value of a metric, also of one that only another version knows."""
    if metric in METRICS:
        return METRICS[metric].format(value)
    return "-" if value is None else f"{value:.6g}"


def bound_text(metric: str, limit: Limit) -> str:
    """`at least 90.0 %`."""
    return f"{'at least' if limit.min is not None else 'at most'} {format_metric(metric, limit.edge)}"


_LISTED = 6


def listed(names: Sequence[str]) -> str:
    """The first of some names, and how many others there are."""
    others = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {others} more" if others > 0 else "")


def cell(text: object) -> str:
    """Text that Markdown and HTML show as it is: model output is hostile."""
    escaped = str(text).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("`", "'")
    return " ".join(escaped.encode("utf-8", "backslashreplace").decode().split())
