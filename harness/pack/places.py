"""Where the parts of a pack stand, and what diagnoses share."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.grading.criterion import Expected
from harness.grading.json_values import normal
from harness.pack.schema import Case, DomainPack, Remark

_SHOWN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the parts of a pack were read, for messages."""

    files: Mapping[str, Path]
    """Each file of a pack by its name; for a test split all of them are that one file."""

    lines: Mapping[str, int] = field(default_factory=dict)
    """Line of each case by its id."""

    def file(self, name: str) -> str:
        """A file as messages name it."""
        return str(self.files.get(name, name))

    def case(self, case: Case) -> str:
        """A case as messages name it."""
        line = self.lines.get(case.id)
        file = self.file("cases.jsonl")
        return f"{file}, line {line}" if line else f"{file}, case {case.id!r}"

    def cases(self, cases: Sequence[Case]) -> str:
        """Some cases: the file, and the lines of the first of them."""
        lines = ", ".join(str(self.lines.get(case.id, case.id)) for case in cases[:_SHOWN])
        more = f" and {len(cases) - _SHOWN} more" if len(cases) > _SHOWN else ""
        return f"{self.file('cases.jsonl')}, line{'s' if len(cases) > 1 else ''} {lines}{more}"


Diagnosis = Callable[[DomainPack, Places], Iterator[Remark]]


def same_questions(pack: DomainPack) -> list[list[Case]]:
    """The cases that ask what another one asks, each group together."""
    groups: dict[str, list[Case]] = defaultdict(list)
    for case in pack.cases:
        groups[question_key(pack.conversation(case.messages))].append(case)
    return [group for group in groups.values() if len(group) > 1]


def question_key(conversation: Sequence[Mapping[str, str]]) -> str:
    """What is the same for conversations that differ in blanks and upper case only."""
    turns = [[turn["role"], " ".join(normal(turn["content"]).casefold().split())] for turn in conversation]
    return json.dumps(turns)


def too_long(pack: DomainPack, places: Places, characters_per_token: float, how: str) -> Iterator[Remark]:
    """Expected answers that have no room in `max_new_tokens` at a number of characters a token."""
    room = pack.domain.max_new_tokens
    needed = {case.id: _least_tokens(case, characters_per_token) for case in pack.cases}
    long = [case for case in pack.cases if needed[case.id] > room]
    if long:
        most = max(needed.values())
        yield Remark(
            what=f"expected: {how} {needed[long[0].id]} tokens or more, and max_new_tokens = {room} cuts it off",
            where=places.cases(long),
            next_step=f"say max_new_tokens = {rounded_up(2 * most)} in domain.toml; short answers end before it",
        )


def _least_tokens(case: Case, characters_per_token: float) -> int:
    """The fewest tokens of any right answer and its end-of-sequence token."""
    texts = [shortest_text(answer) for answer in case.right_answers]
    return min((int(token_width(text) / characters_per_token) + 1 for text in texts), default=0)


def token_width(text: str) -> float:
    """Characters of a text, where a sign of a script without blanks counts for three."""
    wide = len(re.findall(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\u3040-\u30ff]", text))
    return len(text) + 2 * wide


def shortest_text(answer: Expected) -> str:
    """The shortest way to write a right answer."""
    if isinstance(answer, str):
        return answer.strip()
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":"))


def rounded_up(tokens: float, step: int = 16) -> int:
    """The next multiple of `step`."""
    return -(-int(tokens) // step) * step


def short(value: Any) -> str:
    """A value for a message, cut."""
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
