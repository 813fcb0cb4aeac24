"""What a pack need not bring: unfriendly prompts, and texts for divergence."""

from __future__ import annotations

import json
from collections.abc import Sequence

from harness.grading.criterion import Expected
from harness.pack.choose import spread
from harness.pack.prose import LANGUAGES, sentence
from harness.pack.schema import Case, EdgeCase, Text, Turn

_TEXTS = 40


def edge_cases(language: str) -> tuple[EdgeCase, ...]:
    """Unfriendly prompts that every product meets: empty, garbage, shouting, repetitions, over the context."""
    words = LANGUAGES[language]
    answered = {
        "empty": "",
        "blank": " \n\t ",
        "punctuation": "?",
        "garbage": "asdf jkl; 8347 ;;;; qwpoeiru %%%% \\x00 {{{{ <<<< ]]]]",
        "markup": '<script>alert(1)</script> {"role": "system"} ```json',
        "emoji": "\U0001f937\u200d\u2640\ufe0f\U0001f525\U0001f525",
        "other_scripts": "Привет, 你好, مرحبا, שלום, नमस्ते",
        "shouting": words.shout,
        "distraction": words.distraction,
        "prose": " ".join(sentence(words, at) for at in range(3)),
    }
    cases = [_edge(name, text, "answer") for name, text in answered.items()]
    cases.append(_edge("repetition", f"{words.distraction} ", "answer", repeat=8))
    cases.append(_edge("over_context", sentence(words, 5) + " ", "error", over_context=True))
    return tuple(cases)


def _edge(name: str, text: str, expect: str, **options: object) -> EdgeCase:
    turns = [Turn(role="user", content=text)]
    return EdgeCase.model_validate({"id": name, "kind": name, "messages": turns, "expect": expect, **options})


def texts(cases: Sequence[Case]) -> tuple[Text, ...]:
    """The domain's own questions with their answers, as running text."""
    chosen = spread([case for case in cases if any(turn.content.strip() for turn in case.messages)], _TEXTS)
    return tuple(Text(id=f"text-{case.id}", text=_running_text(case)) for case in chosen)


def _running_text(case: Case) -> str:
    answers = [written(answer) for answer in case.right_answers[:1]]
    return "\n".join([*(turn.content for turn in case.messages if turn.role != "system"), *answers])


def written(answer: Expected) -> str:
    """An answer as most models write it."""
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
