"""Do two sides say the same: times of different answers are times of different work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.regression.arm import Arm, Work
from harness.system.progress import SILENT, Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class SameAnswers:
    """How many of the conversations both sides answer alike."""

    same: int
    asked: int
    first_difference: str = ""
    """Both answers, where they first differ; empty where they do not."""

    @property
    def told(self) -> str:
        """One line."""
        if self.same == self.asked:
            return f"answers: the same, {self.asked} of {self.asked}"
        return f"answers: {self.asked - self.same} of {self.asked} differ, first: {self.first_difference}"


def answers_in_process(arm: Arm, work: Work, progress: Progress = SILENT) -> list[str]:
    """What an arm answers greedily to each conversation.

    Raises:
        SessionError: it cannot be loaded or cannot answer.
    """
    session, step = arm.open(), progress.step(f"answers of {arm.name}")
    try:
        texts = []
        for conversation in work.conversations:
            texts.append(session.answer(conversation, max_new_tokens=work.new_tokens).text)
            step(len(texts), len(work.conversations))
        return texts
    finally:
        session.close()


def same_answers(baseline: Sequence[Any], candidate: Sequence[Any]) -> SameAnswers:
    """Compare answers conversation by conversation."""
    differing = [(a, b) for a, b in zip(baseline, candidate, strict=True) if a != b]
    shown = f"{differing[0][0]!r:.100} and {differing[0][1]!r:.100}" if differing else ""
    return SameAnswers(same=len(baseline) - len(differing), asked=len(baseline), first_difference=shown)
