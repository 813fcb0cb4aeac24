"""Progress for a person who waits: lines, and counted steps with the time that is left."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

BETWEEN_STEPS_S: Final = 2.0
"""Least time between a shown line and the next shown step, for who watches."""

BETWEEN_LOGGED_STEPS_S: Final = 60.0
"""The same in a log, which is read later."""


class Step(Protocol):
    """Takes the state of a counted work."""

    def __call__(self, done: int, total: int, /) -> None:
        """`done` of `total` units of the work are finished."""
        ...


class Progress(Protocol):
    """Shows a person what is going on; threads may call it at the same time."""

    def line(self, text: str) -> None:
        """Show a line now."""
        ...

    def step(self, what: str) -> Step:
        """Begin a counted work called `what`; its clock starts now."""
        ...


def silent_step(_done: int, _total: int, /) -> None:
    """A `Step` for callers without a listener."""


class SilentProgress:
    """A `Progress` that shows nothing."""

    def line(self, text: str) -> None:
        """Do nothing."""

    def step(self, what: str) -> Step:
        """A step that shows nothing."""
        return silent_step


SILENT: Final[Progress] = SilentProgress()
"""For callers without a listener."""


class TappedProgress:
    """Passes everything on to another `Progress`; calls `on_line` before each line."""

    def __init__(self, progress: Progress, on_line: Callable[[], None]) -> None:
        self._progress = progress
        self._on_line = on_line

    def line(self, text: str) -> None:
        """Call `on_line`, then show the line."""
        self._on_line()
        self._progress.line(text)

    def step(self, what: str) -> Step:
        """Begin a counted work."""
        return self._progress.step(what)


class LabelledProgress:
    """Passes everything on to another `Progress` with a label in front: `int4: questions`."""

    def __init__(self, progress: Progress, label: str) -> None:
        self._progress = progress
        self._label = label

    def line(self, text: str) -> None:
        """Show a line with the label in front."""
        self._progress.line(f"{self._label}: {text}")

    def step(self, what: str) -> Step:
        """Begin a counted work that is called by the label and `what`."""
        return self._progress.step(f"{self._label}: {what}")


class LineProgress:
    """A `Progress` that writes lines with `write`, one call after the other.

    Steps are shown as `int4: questions 120/356, about 40 s left`, at most one every `between_s` seconds; the time that
    is left follows from the rate since the work began. With `rewrite`, steps go there: onto one line that changes.
    `clock` returns seconds.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        rewrite: Callable[[str], None] | None = None,
        between_s: float = BETWEEN_STEPS_S,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._write = write
        self._show_step = rewrite or write
        self._between_s = between_s
        self._clock = clock
        self._lock = threading.Lock()
        self._last_s = -math.inf

    def line(self, text: str) -> None:
        """Show a line now."""
        with self._lock:
            self._show(text, self._write)

    def step(self, what: str) -> Step:
        """Begin a counted work; nothing is shown of it for the first `between_s` seconds."""
        started_s = self._clock()
        with self._lock:
            self._last_s = started_s

        def count(done: int, total: int, /) -> None:
            with self._lock:
                now_s = self._clock()
                if now_s - self._last_s >= self._between_s:
                    self._show(f"{what} {done}/{total}{time_left(done, total, now_s - started_s)}", self._show_step)

        return count

    def _show(self, text: str, show: Callable[[str], None]) -> None:
        self._last_s = self._clock()
        show(text)


def time_left(done: float, total: float, elapsed_s: float) -> str:
    """`, about 40 s left` at the rate so far; nothing before the first unit and after the last one."""
    if not 0 < done < total:
        return ""
    left_s = elapsed_s / done * (total - done)
    if left_s < 90:
        return f", about {max(1, round(left_s))} s left"
    if left_s < 90 * 60:
        return f", about {round(left_s / 60)} min left"
    return f", about {left_s / 3600:.1f} h left"
