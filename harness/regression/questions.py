"""What is asked where no domain is given: plain questions that any instruct model takes."""

from __future__ import annotations

from typing import Final

from harness.runtime.session import Message

_QUESTIONS: Final = (
    "Which part keeps the water out of the motor, and how often is it to be changed?",
    "Summarise in one sentence: the delivery came two days late, but complete and undamaged.",
    "What is the difference between a warranty and a guarantee?",
    "Write a short reply to a customer who asks where the serial number is printed.",
    "List three things to check before calling the service.",
    "Is it safe to clean the filter with hot water?",
    "Translate into plain English: the apparatus shall be de-energised prior to disassembly.",
    "The display shows E4 after every start. What does it mean, and what should be done?",
)


def plain_conversations() -> list[list[Message]]:
    """One question each."""
    return [[{"role": "user", "content": question}] for question in _QUESTIONS]
