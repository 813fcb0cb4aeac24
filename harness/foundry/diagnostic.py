"""What the doctor says about one thing that it looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One thing that was looked at, what was found, and how to fix it."""

    subject: str
    """What was looked at: `memory`, `my-model: model files`."""

    is_ok: bool
    """Whether there is nothing to fix. What only limits the possibilities is ok too, and `found` says so."""

    found: str
    """What is there, in a phrase."""

    fix: str = ""
    """What to do; empty where there is nothing to fix."""


def ok(subject: str, found: str) -> Diagnostic:
    """A diagnostic with nothing to fix."""
    return Diagnostic(subject=subject, is_ok=True, found=found)


def fault(subject: str, found: str, fix: str) -> Diagnostic:
    """A diagnostic of something that has to be fixed."""
    return Diagnostic(subject=subject, is_ok=False, found=found, fix=fix)
