"""A prompt and its answer: prompt and completion, Alpaca, `input` and `ideal`, lm-eval's samples, columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from harness.grading.criterion import Expected
from harness.pack.formats.chat import conversation_questions, read_turns
from harness.pack.formats.question import (
    Fields,
    Question,
    ReadOptions,
    RowError,
    answer_value,
    field_value,
    optional_text,
    question_text,
    with_system,
)
from harness.pack.schema import Case, Turn

QUESTIONS = ("question", "query", "prompt", "input", "instruction", "user", "request", "utterance", "text", "sentence")
ANSWERS = (
    "answer", "answers", "response", "completion", "output", "expected", "expected_output", "target", "label", "ideal",
    "reference", "gold", "ground_truth", "assistant", "reply",
)  # fmt: skip
"""Names of columns that hold questions and answers, the likelier ones first."""

CONTEXTS = ("context", "passage", "paragraph", "article", "document", "story")
"""Names of fields that hold the text a question is about."""

_CHOICES = ("choices", "options", "answer_choices", "endings", "candidates")
"""Names of fields that hold what may be chosen from."""

_CRITERIA = ("expected", "one_of", "pattern", "keywords")


Needs = tuple[tuple[str, ...], ...]
"""Fields that a row must have; of each inner tuple any one."""


def has_case(row: Fields) -> bool:
    """Whether a row is a pack's own case."""
    return "messages" in row and "kind" in row and any(name in row for name in _CRITERIA)


def case_needs(_row: Fields, _options: ReadOptions) -> Needs:
    """What a pack's own case must have."""
    return (("messages",), ("kind",), _CRITERIA)


def case_questions(row: Fields, _options: ReadOptions) -> Iterator[Question]:
    """The case itself.

    Raises:
        RowError: it is no valid case.
    """
    try:
        case = Case.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        raise RowError(".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")) from None
    yield Question(messages=case.messages, answers=case.right_answers, field="expected", case=case, row=row)


def has_prompt(row: Fields) -> bool:
    """Whether a row has `prompt` and `completion`."""
    return "prompt" in row and "completion" in row


def prompt_needs(_row: Fields, _options: ReadOptions) -> Needs:
    """Both."""
    return (("prompt",), ("completion",))


def prompt_questions(row: Fields, options: ReadOptions) -> Iterator[Question]:
    """The question of a prompt and its completion, both texts or lists of messages.

    Raises:
        RowError: one of them is empty or something else.
    """
    prompt, completion = row["prompt"], row["completion"]
    if isinstance(prompt, list):
        if not isinstance(completion, list):
            completion = [{"role": "assistant", "content": completion}]
        return conversation_questions(row, [*prompt, *completion], "prompt", ("role", "content"), options)
    if isinstance(completion, list) and len(completion) == 1 and isinstance(completion[0], dict):
        completion = completion[0].get("content", completion)
    return _one(row, question_text(prompt, "prompt"), (answer_value(completion, "completion"),), "completion", options)


def has_instruction(row: Fields) -> bool:
    """Whether a row has `instruction` and `output`, as Alpaca's."""
    return "instruction" in row and ("output" in row or "response" in row)


def instruction_needs(_row: Fields, _options: ReadOptions) -> Needs:
    """What an Alpaca row must have."""
    return (("instruction",), ("output", "response"))


def instruction_questions(row: Fields, options: ReadOptions) -> Iterator[Question]:
    """The question of an instruction with its input on the next line; `history` are the turns before.

    Raises:
        RowError: the instruction or the output is empty.
    """
    instruction = optional_text(row, "instruction")
    added = optional_text(row, "input")
    text = question_text("\n".join(filter(None, [instruction, added])), "instruction")
    text = _behind_context(row, text)
    name = "output" if "output" in row else "response"
    earlier = [
        Turn.model_validate({"role": role, "content": content})
        for pair in row.get("history") or ()
        for role, content in zip(("user", "assistant"), pair, strict=False)
    ]
    return _one(row, text, (answer_value(row[name], name),), name, options, earlier)


def has_ideal(row: Fields) -> bool:
    """Whether a row has `input` and `ideal`, as OpenAI's evals do."""
    return "input" in row and "ideal" in row


def ideal_needs(_row: Fields, _options: ReadOptions) -> Needs:
    """Both."""
    return (("input",), ("ideal",))


def ideal_questions(row: Fields, options: ReadOptions) -> Iterator[Question]:
    """The question of an input, a text or messages, with one or several ideal answers.

    Raises:
        RowError: one of them is empty or something else.
    """
    answers = _answers(row["ideal"], "ideal")
    asked = row["input"]
    if isinstance(asked, str):
        return _one(row, question_text(asked, "input"), answers, "ideal", options)
    turns = with_system(optional_text(row, options.system or "system"), read_turns(asked, "input", ("role", "content")))
    if turns[-1].role == "system":  # some evals put the whole task there
        turns = (*turns[:-1], Turn(role="user", content=turns[-1].content))
    if turns[-1].role != "user":
        raise RowError(f"input.{len(turns) - 1}.role", "the last turn is not the user's, so nothing is asked")
    return iter([Question(messages=turns, answers=answers, field="ideal", row=row)])


def has_sample(row: Fields) -> bool:
    """Whether a row is one that lm-eval wrote with `--log_samples`."""
    return "doc" in row and "target" in row and "arguments" in row


def sample_needs(_row: Fields, _options: ReadOptions) -> Needs:
    """What a sample must have."""
    return (("doc",), ("target",), ("arguments",))


def sample_questions(row: Fields, options: ReadOptions) -> Iterator[Question]:
    """The question of a generation task's sample.

    Raises:
        RowError: it compares likelihoods, and asks for no answer.
    """
    requests = row["arguments"]
    if isinstance(requests, dict):
        requests = list(requests.values())
    if not isinstance(requests, list) or len(requests) != 1:
        raise RowError("arguments", "compares the likelihoods of several continuations: no answer is asked for")
    request = requests[0]
    prompt = request.get("arg_0") if isinstance(request, dict) else request[0] if request else None
    answers = (answer_value(row["target"], "target"),)
    return _one(row, question_text(prompt, "arguments"), answers, "target", options)


def has_columns(row: Fields, options: ReadOptions) -> bool:
    """Whether a row has one field for the question and one for the answer."""
    return _column(row, options.question, QUESTIONS) is not None and _column(row, options.answer, ANSWERS) is not None


def column_needs(row: Fields, options: ReadOptions) -> Needs:
    """The columns that hold question and answer in a row that has them."""
    columns = _column(row, options.question, QUESTIONS), _column(row, options.answer, ANSWERS)
    return tuple((name,) for name in columns if name is not None)


def column_questions(row: Fields, options: ReadOptions) -> Iterator[Question]:
    """The question of a row with a column for the question, one for the answer, and perhaps one for a context.

    Raises:
        RowError: one of them is empty.
    """
    asked, answered = _column(row, options.question, QUESTIONS), _column(row, options.answer, ANSWERS)
    assert asked is not None
    assert answered is not None
    text = _behind_context(row, question_text(row[asked], asked))
    answers = _answers(row[answered], answered)
    return _one(row, text, answers, answered, options)


def _behind_context(row: Fields, question: str) -> str:
    """The question behind the text that it is about, where the row has one that the question does not hold."""
    context = next((text for name in CONTEXTS if (text := optional_text(row, name))), "")
    is_text = len(context.split()) > 1  # one word is the name of a document
    return f"{context}\n\n{question}" if is_text and context not in question else question


def _column(row: Fields, named: str | None, known: Sequence[str]) -> str | None:
    if named is not None:
        return named if named in row else None
    by_name = {name.lower().strip().replace(" ", "_"): name for name in row}
    return next((by_name[name] for name in known if name in by_name), None)


def _answers(value: Any, name: str) -> tuple[Expected, ...]:
    """One right answer, or several of which each is right."""
    if isinstance(value, dict) and isinstance(value.get("text"), list):  # as SQuAD has them
        value = list(dict.fromkeys(value["text"]))
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return tuple(answer_value(one, name) for one in value)
    return (answer_value(value, name),)


def _refuse_hidden_choices(row: Fields, question: str) -> None:
    """Refuse a row whose answer is one of some choices that its question does not show.

    Raises:
        RowError: it is one.
    """
    for name in _CHOICES:
        given = field_value(row, name)
        choices = given.get("text") if isinstance(given, dict) else given
        texts = [one for one in choices if isinstance(one, str)] if isinstance(choices, list) else []
        if texts and not all(text.strip() in question for text in texts):
            raise RowError(name, "are not in the question: give the prompt with its choices, as the model was tuned on")


def _one(
    row: Fields,
    question: str,
    answers: tuple[Expected, ...],
    field: str,
    options: ReadOptions,
    earlier: Sequence[Turn] = (),
) -> Iterator[Question]:
    _refuse_hidden_choices(row, question)
    turns = (*earlier, Turn(role="user", content=question))
    system = optional_text(row, options.system or "system") or optional_text(row, "system_prompt")
    return iter([Question(messages=with_system(system, turns), answers=answers, field=field, row=row)])
