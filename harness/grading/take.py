"""Takes an answer out of what a model wrote around it, as far as the pack allows that."""

from __future__ import annotations

import re
from dataclasses import dataclass

import regex

from harness.grading.json_values import normal
from harness.grading.patterns import all_matches
from harness.grading.settings import AnswerSettings

_FENCE = re.compile(r"^ {0,3}(?P<fence>`{3,}|~{3,})(?P<info>[^`\n]*)$", re.MULTILINE)
_INLINE = re.compile(r"```(?:(?:json|text|txt|yaml|xml)\s)?(?P<inner>[^\n]*?)```")


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """An answer, and what stood around it."""

    answer: str
    """What is graded; empty where none was found."""

    thinking_characters: int = 0
    """Length of the thinking parts in front of the answer, without their markers."""

    around_characters: int = 0
    """Length of what else stood around the answer: code fences, introductions, closing words."""

    problem: str = ""
    """Why there is no answer; empty where there is one."""


def take_answer(text: str, settings: AnswerSettings) -> Taken:
    """Take the answer out of a text: from behind thinking parts, out of a code fence, by a pattern, in this order."""
    rest, thinking, problem = _after_thinking(text, settings.thinking_markers)
    if problem:
        return Taken(answer="", thinking_characters=thinking, problem=problem)
    answer = _in_fence(rest) if settings.code_fence else rest
    if settings.take is not None:
        found = _matched(answer, settings.take)
        if found is None:
            problem = f"no one answer matches take = {settings.take!r}"
        answer = found or ""
    around = max(0, len(rest.strip()) - len(answer.strip()))
    return Taken(answer=answer, thinking_characters=thinking, around_characters=around, problem=problem)


def _after_thinking(text: str, markers: tuple[tuple[str, str], ...]) -> tuple[str, int, str]:
    """(what follows the thinking parts, their length, why nothing does)."""
    thinking = 0
    is_first = True
    while True:
        stripped = text.lstrip()
        pair = next((pair for pair in markers if stripped.startswith(pair[0].strip())), None)
        if pair is None and is_first:  # the chat template may have opened the part in the prompt
            pair, stripped = _opened_by_prompt(text, markers)
        if pair is None:
            return text, thinking, ""
        end = _closing(stripped, pair)
        if end is None:
            return "", thinking + len(stripped), f"the thinking part is not closed by {pair[1].strip()}"
        thinking += len(stripped[:end].strip()) - len(pair[0].strip())
        text = stripped[end + len(pair[1].strip()) :]
        is_first = False


def _opened_by_prompt(text: str, markers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str] | None, str]:
    for pair in markers:
        opened = pair[0].strip() + text
        if pair[1].strip() in text and _closing(opened, pair) is not None:
            return pair, opened
    return None, text


def _closing(text: str, pair: tuple[str, str]) -> int | None:
    """Where the marker stands that closes the part which opens the text; parts inside of it are stepped over."""
    first, last = pair[0].strip(), pair[1].strip()
    depth = 0
    for found in re.finditer(f"{re.escape(first)}|{re.escape(last)}", text):
        depth += 1 if found[0] == first else -1
        if depth == 0:
            return found.start()
    return None


def _in_fence(text: str) -> str:
    """What stands in the only code fence of a text; the text itself where there is no fence, or more than one."""
    inline = _INLINE.fullmatch(text.strip())
    if inline and "```" not in inline["inner"]:
        return inline["inner"]
    blocks = []
    at = 0
    lines = normal(text)
    while opening := _FENCE.search(lines, at):
        fence = opening["fence"]
        closing = re.compile(rf"^ {{0,3}}{re.escape(fence[0])}{{{len(fence)},}}[ \t]*$", re.MULTILINE)
        end = closing.search(lines, opening.end())
        if end is None:
            return text  # never closed: the answer was cut, or is no fence at all
        blocks.append(lines[opening.end() + 1 : end.start()])
        at = end.end()
    return blocks[0] if len(blocks) == 1 else text


def _matched(text: str, pattern: str) -> str | None:
    found = [_group(match) for match in all_matches(pattern, text)]
    answers = {normal(answer).strip() for answer in found if answer is not None}
    return found[-1] if len(answers) == 1 else None


def _group(match: regex.Match[str]) -> str | None:
    if "answer" in match.re.groupindex:
        return match["answer"]
    return match[1 if match.re.groups == 1 else 0]
