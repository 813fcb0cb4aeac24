"""(e) Verified answers against generated ones: answers x variants x models, every difference explained."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from benchmarks.scale_parts.common import DEMO, ROOT, Table, artifacts, demo_pack, say
from harness.artifact.artifact import Artifact
from harness.errors import InvalidPromptError
from harness.measure.lengths import padded_conversations
from harness.measure.verified_session import Tokens, VerifiedSession
from harness.pack.choose import spread
from harness.runtime.genai import GenaiSession
from harness.runtime.session import Message
from harness.system.cpu import compute_cores
from harness.system.progress import LineProgress
from harness.toolchain.toolchain import quiet_environment
from harness.toolchain.workspace import Workspace
from tests.families.families import FAMILIES
from tests.families.packages import Unreachable, fetch_tokenizer

TOKENIZERS = ("qwen3", "llama3_1", "gemma3")
QUESTIONS = 150
"""Of the demo's, to each variant of each model under a published tokenizer."""

TOKENS = 24
"""Longest answer of a random model, which never ends one."""

Conversations = Sequence[Sequence[Message]]


Generated = dict[Tokens, tuple[Tokens, str]]
"""By prompt: an answer's tokens without the one that ends it, and how it ended."""


def measure(place: Workspace, scratch: Path) -> Table:
    """All models; drafts are another variant's generated answers, as the gate's are the source's."""
    table = Table(head=("model", "answers", "drafts right", "drift, logits", "equal", "differing"))
    pack = demo_pack()
    demo = [pack.conversation(case.messages) for case in pack.cases]
    made = artifacts(DEMO / "model", place)
    with closing(GenaiSession(made["int4"].path)) as session:
        demo += [turns for *_, turns in padded_conversations(pack, session.encode, session.context_length)]
    _compare("demo", made, demo, pack.domain.max_new_tokens, table)
    few = [pack.conversation(case.messages) for case in spread(pack.cases, QUESTIONS)]
    for name in TOKENIZERS:
        try:
            model = _random_model(name, place, scratch)
        except Unreachable as error:
            table.notes.append(f"{name}: not measured: {error}")
            continue
        _compare(f"random under {name}'s tokenizer", artifacts(model, place, "int4,int8,fp16"), few, TOKENS, table)
    total = sum(int(str(row[1])) for row in table.rows)
    equal = sum(int(str(row[4])) for row in table.rows)
    table.notes.insert(
        0,
        f"{equal} of {total} answers are equal, token by token. A draft is the answer of another variant of the same "
        "model; the first six of each variant are generated, to calibrate. They are generated with the runtime's own "
        f"choice of threads and verified on {compute_cores()} cores.",
    )
    return table


def _compare(model: str, made: Mapping[str, Artifact], conversations: Conversations, limit: int, table: Table) -> None:
    generated = {}
    for variant, artifact in made.items():
        say(f"{model}, {variant}: generating {len(conversations)} answers")
        with closing(GenaiSession(artifact.path, name=variant)) as session:
            generated[variant] = _generated(session, conversations, limit)
    for variant, artifact in made.items():
        other = generated["int4" if variant == "fp16" else "fp16"]
        with closing(GenaiSession(artifact.path, name=variant, threads=compute_cores())) as session:
            end = tuple(sorted(session.end_ids)[:1])
            drafts = {prompt: (*ids, *(end if how == "stop" else ())) for prompt, (ids, how) in other.items()}
            verified = VerifiedSession(inner=session, drafts=drafts)
            step = LineProgress(say).step(f"{model}, {variant}: verifying")
            verified.answer_many(conversations, max_new_tokens=limit, step=step)
            _report(f"{model}, {variant}", generated[variant], verified, other, table)


def _generated(session: GenaiSession, conversations: Conversations, limit: int) -> Generated:
    found: Generated = {}
    step = LineProgress(say).step("generating")
    for done, turns in enumerate(conversations, 1):
        try:
            prompt = tuple(session.encode(session.render(turns)))
            if prompt not in found:
                answer = session.answer(turns, max_new_tokens=limit)
                found[prompt] = (tuple(answer.token_ids or ()), answer.finish_reason)
        except InvalidPromptError:
            continue
        step(done, len(conversations))
    return found


def _report(who: str, generated: Generated, verified: VerifiedSession, drafts: Generated, table: Table) -> None:
    said = {prompt: (verified.said[prompt].token_ids, verified.said[prompt].finish_reason) for prompt in generated}
    differing = [prompt for prompt in generated if said[prompt] != generated[prompt]]
    whole = sum(said[prompt] == drafts.get(prompt) for prompt in generated)
    count = len(generated)
    table.rows.append((who, count, whole, f"{verified.drift:.2g}", count - len(differing), len(differing)))
    for prompt in differing:
        table.notes.append(f"{who}: {_explained(verified, prompt, generated[prompt][0], said[prompt][0])}")


def _explained(verified: VerifiedSession, prompt: Tokens, tokens: Tokens, said: Tokens) -> str:
    """Where two answers part, and how near the two tokens lie there to each other."""
    place = next((n for n, (a, b) in enumerate(zip(tokens, said, strict=False)) if a != b), min(len(tokens), len(said)))
    cursor = verified.inner.cursor(len(prompt) + place + 2)
    row = cursor.append([*prompt, *tokens[:place]], keep=1)[0]
    best, second = sorted(row, reverse=True)[:2]
    return (
        f"answers part at token {place}: in one prefill the best two tokens lie {best - second:.2g} apart, "
        f"the largest difference seen in calibration is {verified.drift:.2g}"
    )


def _random_model(name: str, place: Workspace, scratch: Path) -> Path:
    folder = scratch / f"random-{name}"
    if not (folder / "config.json").is_file():
        say(f"making a random model under {name}'s tokenizer")
        script = ROOT / "tests" / "families" / "make_family.py"
        settings = json.dumps(FAMILIES[name].settings())
        command = [*place.toolchain().command(script), fetch_tokenizer(FAMILIES[name].package), folder, settings]
        subprocess.run([str(part) for part in command], check=True, env={**os.environ, **quiet_environment()})
    return folder
