"""Conversations: `messages` as for chat fine-tuning, and `conversations` as ShareGPT writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from harness.pack.formats.question import (
    Fields,
    Question,
    ReadOptions,
    RowError,
    answer_value,
    optional_text,
    question_text,
    with_system,
)
from harness.pack.schema import Turn

_ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "chatgpt", "ai"), "assistant"),
}
_TOOLS = ("tools", "functions")


def has_messages(row: Fields) -> bool:
    """Whether a row is a chat fine-tuning example: `messages` of `role` and `content`."""
    return (
        _is_list(row.get("messages")) or _list_in(row, "conversations", "role") or _list_in(row, "conversation", "role")
    )


def has_share_gpt(row: Fields) -> bool:
    """Whether a row is a conversation of `from` and `value`."""
    return _list_in(row, "conversations", "from") or _list_in(row, "conversation", "from")


def _is_list(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, str) and value.lstrip().startswith("[{"))


def _list_in(row: Fields, name: str, key: str) -> bool:
    value = row.get(name)
    return isinstance(value, list) and any(isinstance(turn, dict) and key in turn for turn in value)


def messages_questions(row: Fields, options: ReadOptions) -> Iterator[Question]:
    """The questions of a chat fine-tuning example.

    Raises:
        RowError: it is not one that can be asked.
    """
    name = next(name for name in ("messages", "conversations", "conversation") if name in row)
    return conversation_questions(row, row[name], name, ("role", "content"), options)


def share_gpt_questions(row: Fields, options: ReadOptions) -> Iterator[Question]:
    """The questions of a ShareGPT conversation.

    Raises:
        RowError: it is not one that can be asked.
    """
    name = "conversations" if "conversations" in row else "conversation"
    return conversation_questions(row, row[name], name, ("from", "value"), options)


def conversation_questions(
    row: Fields, items: Any, name: str, keys: tuple[str, str], options: ReadOptions
) -> Iterator[Question]:
    """Questions of a list of turns: its last answer, or each, with what stood before it.

    Raises:
        RowError: a turn cannot be used, or there is no answer.
    """
    tools = next((tool for tool in _TOOLS if row.get(tool)), None)
    if tools:
        raise RowError(tools, "tools are not offered to the model here")
    turns = with_system(optional_text(row, options.system or "system"), read_turns(items, name, keys))
    spoken = [turn for turn in turns if turn.role != "system"]
    if not spoken or spoken[0].role != "user":
        raise RowError(f"{name}.0", "the conversation does not begin with the user: chat templates refuse it")
    answers = [at for at, turn in enumerate(turns) if turn.role == "assistant" and turns[at - 1].role == "user"]
    trained = [at for at in answers if _weight(items, at - len(turns)) != 0]
    if not answers and "expected" in row:
        raise RowError(name, "ends with the user, and `expected` stands beside: a pack's own case has id and kind too")
    if not answers:
        raise RowError(name, "has no answer of the assistant to a question")
    if not trained:
        raise RowError(name, "has no answer of the assistant with a weight other than 0")
    chosen = trained if options.every_turn else trained[-1:]
    for number, at in enumerate(chosen, 1):
        field = f"{name}.{_place(items, at, turns)}.{keys[1]}"
        yield Question(
            messages=turns[:at],
            answers=(answer_value(turns[at].content, field),),
            field=field,
            turn=number if options.every_turn else 0,
            later_turns=len(turns) - 1 - chosen[-1],
            row=row,
        )


def _weight(items: Any, from_end: int) -> Any:
    parsed = _parsed(items)
    return parsed[from_end].get("weight", 1) if isinstance(parsed, list) else 1


def _place(items: Any, at: int, turns: Sequence[Turn]) -> int:
    """Index of a turn in the row, which may lack the system turn that was put in front."""
    return at - (len(turns) - len(_parsed(items)))


def _parsed(items: Any) -> Any:
    return json.loads(items) if isinstance(items, str) else items


def read_turns(items: Any, name: str, keys: tuple[str, str]) -> tuple[Turn, ...]:
    """The turns of a list.

    Raises:
        RowError: it is no list of turns with a known role and a text.
    """
    try:
        items = _parsed(items)
    except ValueError:
        raise RowError(name, "is no JSON list of turns") from None
    if not isinstance(items, list) or not items:
        raise RowError(name, "is no list of turns, or an empty one")
    return tuple(_turn(item, f"{name}.{at}", keys, is_last=at == len(items) - 1) for at, item in enumerate(items))


def _turn(item: Any, name: str, keys: tuple[str, str], *, is_last: bool) -> Turn:
    if not isinstance(item, dict) or keys[0] not in item:
        raise RowError(name, f"is no turn with {keys[0]} and {keys[1]}")
    if item.get("tool_calls") or item.get("function_call"):
        raise RowError(name, "calls a tool, which is not asked here")
    written = item[keys[0]]
    role = _ROLES.get(written.lower()) if isinstance(written, str) else None
    if role is None:
        raise RowError(f"{name}.{keys[0]}", f"{written!r} is neither system, user nor assistant")
    text = _content(item.get(keys[1]), f"{name}.{keys[1]}")
    if role == "user":
        text = question_text(text, f"{name}.{keys[1]}")
    elif not text.strip():
        raise RowError(f"{name}.{keys[1]}", "is empty")
    return Turn.model_validate({"role": role, "content": text if is_last else text.strip()})


def _content(value: Any, name: str) -> str:
    """The text of a turn, which may stand in parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        parts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in value]
        if all(isinstance(part, str) for part in parts):
            return "\n".join(str(part) for part in parts)
        raise RowError(name, "has parts that are no text, such as images")
    raise RowError(name, "is empty" if value in (None, []) else f"{json.dumps(value)[:40]} is no text")
