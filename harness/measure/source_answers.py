"""What the source model itself says: measured once per model and pack, kept by content."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.errors import InvalidPromptError
from harness.grading.grade import GradedAnswer
from harness.measure.asking import ask_cases, graded_again
from harness.measure.drafts import source_drafts
from harness.measure.lengths import ask_lengths
from harness.measure.reference_scores import ReferenceScores, ScoresOnTheWay, answers_to_score, score_reference
from harness.measure.tokenization import DomainText
from harness.measure.verified_session import Tokens, VerifiedSession
from harness.pack.schema import DomainPack
from harness.prompts.conversations import EncodedPrompt, parity_conversations
from harness.runtime.session import Message
from harness.runtime.verified import SteppingSession
from harness.source.reference_session import ReferenceSession, precision_in_memory
from harness.source.source import Source
from harness.system.hashing import digest_of
from harness.system.progress import Progress
from harness.system.rows import KeptRows
from harness.system.store import build_once
from harness.toolchain.workspace import Workspace

_FORMAT = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceAnswers:
    """The source model's answers and logits on a domain pack."""

    answers: tuple[GradedAnswer, ...]
    """To every case."""

    length_answers: tuple[GradedAnswer, ...]
    """To the questions of the prompt-length sweep."""

    scores: ReferenceScores
    prompts: Mapping[str, str]
    """Prompt text by case id, as the source's chat template renders it."""

    parity: Mapping[str, EncodedPrompt | None]
    """Prompts of the parity conversations by name, text and tokens; None where the source's template refuses one."""

    drafts: Mapping[Tokens, Tokens]
    """What the source model said to each prompt, cases and long ones, both in token ids."""

    texts: tuple[DomainText, ...]
    """The domain's prompts, right answers and texts with the source tokenizer's ids, none twice."""

    folder: Path
    """Where all of it is kept."""

    was_reused: bool

    @property
    def encoded_prompts(self) -> dict[str, EncodedPrompt]:
        """The cases' prompts by case id, text and tokens."""
        ids = {one.text: one.ids for one in self.texts}
        return {case_id: EncodedPrompt(text=text, ids=ids[text]) for case_id, text in self.prompts.items()}


def ask_source(
    source: Source, pack: DomainPack, workspace: Workspace, *, template_options: Mapping[str, Any] | None = None
) -> SourceAnswers:
    """The source model's answers to this pack, asked through transformers where they are not in the cache.

    `template_options` replace those of the pack.

    Raises:
        SessionError: the model does not fit into memory, or cannot answer.
    """
    options = pack.domain.template_options if template_options is None else template_options
    log = workspace.log("source-answers")
    return measure_source_answers(
        lambda: ReferenceSession(source, workspace.toolchain(), template_options=options, log=log),
        pack,
        workspace,
        source_digest=source.digest,
        precision=precision_in_memory(source),
        template_options=options,
    )


def measure_source_answers(
    open_session: Callable[[], SteppingSession],
    pack: DomainPack,
    workspace: Workspace,
    *,
    source_digest: str,
    precision: str,
    template_options: Mapping[str, Any] | None = None,
) -> SourceAnswers:
    """Read the source model's answers to this pack from the cache, or ask the session that `open_session` gives.

    Single answers are kept by model and prompt, so that an interrupted run goes on where it was, and a pack with a new
    case asks that one.
    """
    versions = dict(workspace.toolchain.versions)
    key = digest_of([_FORMAT, source_digest, precision, pack.digest, versions, dict(template_options or {})])
    folder = workspace.cache / "source-answers" / key
    model = digest_of(["source", source_digest, precision, versions])

    def build(staging: Path) -> dict[str, Any]:
        session = open_session()
        rows = KeptRows(workspace.cache / "answers" / f"{model[:32]}.db")
        try:
            _measure(session, rows, pack, staging, workspace.progress)
        finally:
            session.close()
        return {"source": source_digest, "pack": pack.digest, "versions": versions}

    _, was_reused = build_once(folder, build)
    return read_source_answers(folder, pack, was_reused=was_reused)


def read_source_answers(folder: Path, pack: DomainPack, *, was_reused: bool) -> SourceAnswers:
    """What `measure_source_answers` keeps in a folder, graded as this pack grades."""
    saved = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    return SourceAnswers(
        answers=graded_again([GradedAnswer(**row) for row in saved["answers"]], pack),
        length_answers=graded_again([GradedAnswer(**row) for row in saved["length_answers"]], pack),
        scores=ReferenceScores.load(folder),
        drafts={tuple(prompt): tuple(draft) for prompt, draft in saved["drafts"]},
        prompts=saved["prompts"],
        parity={
            name: EncodedPrompt(text=one["text"], ids=tuple(one["ids"])) if one else None
            for name, one in saved["parity"].items()
        },
        texts=tuple(DomainText(kind=one["kind"], text=one["text"], ids=tuple(one["ids"])) for one in saved["texts"]),
        folder=folder,
        was_reused=was_reused,
    )


def _measure(session: SteppingSession, rows: KeptRows, pack: DomainPack, folder: Path, progress: Progress) -> None:
    prompts = {case.id: session.render(pack.conversation(case.messages)) for case in pack.cases}
    ids = {one["text"]: tuple(one["ids"]) for one in _encoded(session, {"prompt": prompts.values()})}
    ids = {case_id: ids[text] for case_id, text in prompts.items() if text in ids}
    on_the_way = ScoresOnTheWay(prompts=frozenset(ids[case.id] for case in answers_to_score(pack) if case.id in ids))
    asking = VerifiedSession(inner=session, rows=rows, on_draft=on_the_way.see)
    asking.drafts = source_drafts(asking, pack)
    answers = ask_cases(asking, pack, progress.step("source model: questions"))
    right = {
        one.case_id: (ids[one.case_id], asking.said[ids[one.case_id]].token_ids) for one in answers if one.is_exact
    }
    step = progress.step("source model: logits")
    score_reference(session, pack, right, on_the_way=on_the_way, step=step).save(folder)
    length_answers = ask_lengths(asking, pack, progress.step("source model: long questions"))
    kinds = {
        "prompt": prompts.values(),
        "answer": [answer.text for answer in answers if answer.is_exact],  # what a wrong one says, nobody asks
        "text": [text.text for text in pack.texts],
    }
    saved = {
        "drafts": [[list(prompt), list(said.draft)] for prompt, said in asking.said.items()],
        "answers": [asdict(answer) for answer in answers],
        "length_answers": [asdict(answer) for answer in length_answers],
        "prompts": prompts,
        "texts": _encoded(session, kinds),
        "parity": {name: _prompt(session, messages) for name, messages in parity_conversations()},
    }
    (folder / "answers.json").write_text(json.dumps(saved), encoding="utf-8")


def _encoded(session: SteppingSession, kinds: Mapping[str, Iterable[str]]) -> list[dict[str, Any]]:
    """Each text once, with its kind and ids; what the source's own tokenizer refuses is left out."""
    kind_of = {text: kind for kind, texts in reversed(list(kinds.items())) for text in texts if text}
    found = []
    for text, kind in kind_of.items():
        try:
            found.append({"kind": kind, "text": text, "ids": list(session.encode(text))})
        except InvalidPromptError:
            continue
    return found


def _prompt(session: SteppingSession, messages: Sequence[Message]) -> dict[str, Any] | None:
    try:
        text = session.render(messages)
        return {"text": text, "ids": list(session.encode(text))}
    except InvalidPromptError:
        return None
