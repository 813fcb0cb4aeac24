"""The domain pack: what a model is for, what right answers are, and everything that it is asked.

domain.toml            name, description, answer length, form of the answers, the prompt-length sweep
cases.jsonl            questions with their expected answers
response.schema.json   JSON Schema that every answer must meet; leave it out for free text
edge_cases.jsonl       empty, garbage, over-long and otherwise unfriendly prompts; built in when left out
texts.jsonl            texts on which divergence is measured; the questions and answers when left out
padding.txt            unrelated prose that makes prompts longer; built in when left out
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from harness.config.diagnosis import Settings
from harness.config.settings import TemplateOptions
from harness.grading.criterion import Criterion
from harness.grading.settings import AnswerSettings

OUT_OF_SCOPE = "out_of_scope"
"""The kind of a case whose right answer is to decline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something about a pack that its owner should know: what, where, and a way out."""

    what: str
    where: str
    next_step: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.next_step}"


class Turn(Settings):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Case(Criterion):
    """A question with what makes an answer to it right."""

    messages: Annotated[tuple[Turn, ...], Field(min_length=1)]

    @field_validator("messages")
    @classmethod
    def _asks(cls, turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
        if turns[-1].role != "user":
            raise ValueError(
                f"the last turn is the {turns[-1].role}'s, so nothing is asked: an answer belongs into expected"
            )
        if any(turn.role == "system" for turn in turns[1:]):
            raise ValueError("a system turn stands first, or chat templates refuse it")
        return turns

    @property
    def is_single_turn(self) -> bool:
        """Whether the conversation is one question, apart from a system prompt."""
        return sum(turn.role != "system" for turn in self.messages) == 1


class EdgeCase(Settings):
    """A prompt that a user would rather not send, and what must come back."""

    id: Annotated[str, Field(min_length=1)]
    kind: Annotated[str, Field(min_length=1)]
    messages: tuple[Turn, ...]
    expect: Literal["answer", "error"]
    """`answer`: an answer that keeps the pack's form; `error`: a clean refusal by the runtime."""

    repeat: Annotated[int, Field(ge=1)] = 1
    """How often the last message's content is repeated."""

    over_context: bool = False
    """Repeat the last message's content until the prompt is longer than the context."""

    @model_validator(mode="after")
    def _has_something_to_repeat(self) -> EdgeCase:
        if (self.over_context or self.repeat > 1) and not (self.messages and self.messages[-1].content):
            raise ValueError("there is nothing to repeat: the last message has no content")
        if self.over_context and self.expect == "answer":
            raise ValueError("over_context needs expect = error: no answer has room behind a prompt over the context")
        return self


class Text(Settings):
    """A text for divergence."""

    id: Annotated[str, Field(min_length=1)]
    text: Annotated[str, Field(min_length=1)]

    @field_validator("text")
    @classmethod
    def _is_not_blank(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("is blank")
        return text


class PromptLengthSweep(Settings):
    """`[length]`: the same questions behind more and more unrelated text."""

    padding_tokens: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=2)] = (0, 100, 300, 600)
    """Tokens of padding per step, ascending; the first step is the reference."""

    cases: Annotated[int, Field(ge=1)] = 40
    """How many in-scope cases are asked at every step: of 40, one that flips by chance is 2.5 points."""

    template: str = "{padding}\n\n{question}"
    """How padding and question make one user message."""

    @model_validator(mode="after")
    def _can_be_asked(self) -> PromptLengthSweep:
        if list(self.padding_tokens) != sorted(set(self.padding_tokens)):
            raise ValueError("padding_tokens must ascend without repeats")
        try:
            names = {name for _, name, _, _ in string.Formatter().parse(self.template) if name is not None}
        except ValueError as error:
            raise ValueError(f"template: {error}; a brace that is text is written twice") from None
        if names != {"padding", "question"}:
            raise ValueError("template needs {padding} and {question} and nothing else in braces")
        return self


class ReadFile(Settings):
    """`[read]`: the test split that a pack was drafted from."""

    file: str
    """Its name."""

    format: str
    """Format and container: `messages in JSON Lines`."""

    rows: Annotated[int, Field(ge=0)]
    not_taken: Annotated[int, Field(ge=0)]
    """Rows that are not asked; `not_taken.txt` beside says why of each."""

    notes: tuple[str, ...] = ()
    """What reading changed and inferred."""

    def told(self, not_taken: Path) -> tuple[str, ...]:
        """What a later run says of it; `not_taken` is the list of the rows, which may be gone."""
        see = f": see {not_taken}" if self.not_taken and not_taken.is_file() else ""
        taken = f"{self.not_taken} not taken{see}" if self.not_taken else "and every one was taken"
        return f"{self.rows} rows of {self.file} ({self.format}) were read, {taken}", *self.notes


class DomainSettings(Settings):
    """`domain.toml`."""

    schema_version: Literal[1]
    name: Annotated[str, Field(min_length=1)]
    description: str = ""
    draft: bool = False
    """The file was drafted from a test split, and nobody has confirmed what it says of answers yet."""

    max_new_tokens: Annotated[int, Field(ge=1)]
    """Room for the longest right answer and its end-of-sequence token."""

    system_prompt: str | None = None
    """Put before every conversation that has no system turn of its own."""

    template_options: TemplateOptions = Field(default_factory=dict)
    """Options of the chat template that the questions are meant for: `{enable_thinking = false}`."""

    answer: AnswerSettings = AnswerSettings()
    length: PromptLengthSweep = PromptLengthSweep()
    read: ReadFile | None = None
    """Where the pack comes from; told and recorded at every run, and no part of the digest."""


class DomainPack(Settings):
    """A pack that was read and validated as a whole."""

    folder: Path
    """Where it was read from: a folder, or the one file of a test split."""

    domain: DomainSettings
    cases: tuple[Case, ...]
    edge_cases: tuple[EdgeCase, ...]
    texts: tuple[Text, ...]
    response_schema: dict[str, Any] | None
    padding: str
    digest: str
    """SHA-256 over everything that is asked and expected."""

    remarks: tuple[Remark, ...] = ()
    """What its owner should know before the results are read."""

    reading: tuple[str, ...] = ()
    """What was read of a test split, line by line; empty for a pack that was not drafted from one."""

    @property
    def answer_settings(self) -> AnswerSettings:
        """What may stand around an answer, which form it has, and how it is compared."""
        return self.domain.answer

    def conversation(self, turns: Iterable[Turn]) -> list[dict[str, str]]:
        """Messages as a session takes them, the system prompt added where it is missing."""
        messages = [turn.model_dump() for turn in turns]
        if self.domain.system_prompt and (not messages or messages[0]["role"] != "system"):
            messages.insert(0, {"role": "system", "content": self.domain.system_prompt})
        return messages
