"""What is said of a graph that is not its source."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import FidelityError


@dataclass(frozen=True, slots=True, kw_only=True)
class FidelityFinding:
    """One reason why a graph is not its source."""

    what: str
    """The difference, in words."""

    where: str
    """The folder."""

    next_step: str
    """What to do about it."""

    def as_error(self) -> FidelityError:
        """The same as an error."""
        return FidelityError(self.what, where=self.where, next_step=self.next_step)
