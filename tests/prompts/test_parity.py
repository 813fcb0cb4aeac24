"""Every way to prompt a model gives it the same tokens, for each family of chat templates."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InvalidPromptError
from harness.foundry.host import FoundryHost
from harness.foundry.http_session import FoundryHttpSession
from harness.foundry.session import FoundrySession
from harness.prompts.chat_template import Message, render_chat_template
from harness.prompts.conversations import (
    EncodedPrompt,
    control_token_faults,
    control_tokens,
    end_faults,
    parity_conversations,
    prompt_faults,
    token_difference,
)
from harness.prompts.parity import DomainPrompt, PromptParity, PromptWays, prompt_parity
from harness.prompts.prompt_template import choose_prompt_template, derive_prompt_template
from harness.runtime.genai import GenaiSession
from harness.system.child import run_job
from harness.toolchain.toolchain import quiet_environment
from tests.prompts import templates

FAMILIES: dict[str, tuple[str, str, str]] = {  # chat template, beginning (put there by the template), end
    "CHATML": (templates.CHATML, "", "<|im_end|>"),
    "QWEN": (templates.QWEN, "", "<|im_end|>"),
    "SMOL": (templates.SMOL, "", "<|im_end|>"),
    "LLAMA": (templates.LLAMA, "<|begin_of_text|>", "<|eot_id|>"),
    "PHI3": (templates.PHI3, "", "<|end|>"),
    "PHI4": (templates.PHI4, "", "<|im_end|>"),
    "GEMMA": (templates.GEMMA, "<bos>", "<end_of_turn>"),
    "MISTRAL": (templates.MISTRAL, "<s>", "</s>"),
    "GRANITE": (templates.GRANITE, "", "<|end_of_text|>"),
}
BY_FOUR_STRINGS = {"CHATML", "PHI3", "PHI4"}
CONTROLS = [
    "<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eot_id|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<bos>", "<start_of_turn>", "<end_of_turn>",
    "<s>", "</s>", "[INST]", "[/INST]", "<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>",
]  # fmt: skip
CONVERSATIONS = dict(parity_conversations())


def make_family(name: str, artifact: Path, folder: Path) -> Path:
    """The demo model with a family's control tokens, beginning, end and chat template."""
    template, begin, end = FAMILIES[name]
    shutil.copytree(artifact, folder)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    added = {token["content"]: token for token in tokenizer["added_tokens"]}
    missing = [token for token in CONTROLS if token not in added]
    free = drop_last_pieces(tokenizer["model"], len(missing))
    for token, token_id in zip(missing, free, strict=True):
        added[token] = {**added["<|im_end|>"], "content": token, "id": token_id}
    tokenizer["added_tokens"] = sorted(added.values(), key=lambda token: token["id"])
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    config |= {"bos_token": begin or None, "eos_token": end}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": added[end]["id"]}), encoding="utf-8")
    genai = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))
    genai["model"]["eos_token_id"] = [added[end]["id"]]
    (folder / "genai_config.json").write_text(json.dumps(genai), encoding="utf-8")
    return folder


def drop_last_pieces(bpe: dict[str, Any], count: int) -> list[int]:
    """Make room for other tokens within the model's vocabulary: the ids of its last pieces, which are merged no more."""
    dropped = dict(sorted(bpe["vocab"].items(), key=lambda item: item[1])[-count:])
    bpe["vocab"] = {piece: token_id for piece, token_id in bpe["vocab"].items() if piece not in dropped}
    pairs = [(merge, merge.split(" ") if isinstance(merge, str) else merge) for merge in bpe["merges"]]
    bpe["merges"] = [merge for merge, pair in pairs if "".join(pair) not in dropped and not {*pair} & {*dropped}]
    return sorted(dropped.values())


@pytest.fixture(scope="module")
def folders(demo_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {name: make_family(name, demo_artifact, root / name) for name in FAMILIES}


@pytest.fixture(scope="module")
def transformers(folders: dict[str, Path], toolchain, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What transformers makes of every conversation, in one process of the toolchain."""
    return run_job(
        toolchain.command(Path(__file__).with_name("parity_worker.py")),
        {
            "folders": {name: str(folder) for name, folder in folders.items()},
            "conversations": [list(messages) for messages in CONVERSATIONS.values()],
        },
        log=tmp_path_factory.mktemp("parity") / "log",
        timeout_s=1800,
        env=quiet_environment(),
    )


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def bare(family: str, folders: dict[str, Path]) -> Iterator[GenaiSession]:
    session = GenaiSession(folders[family])
    yield session
    session.close()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FoundryHost]:
    with FoundryHost(tmp_path_factory.mktemp("foundry")) as host:
        yield host


@pytest.fixture(scope="module")
def served(family: str, bare: GenaiSession, host: FoundryHost, folders: dict[str, Path]) -> Iterator[FoundrySession]:
    model = host.register(folders[family], f"family-{family}")
    session = FoundrySession(host, model)
    yield session
    session.close()
    host.unregister(model)


def expected_prompts(transformers: dict[str, Any], family: str) -> dict[str, EncodedPrompt | None]:
    return {
        name: None if "refused" in prompt else EncodedPrompt(text=prompt["text"], ids=tuple(prompt["ids"]))
        for name, prompt in zip(CONVERSATIONS, transformers[family]["prompts"], strict=True)
    }


@pytest.mark.toolchain
@pytest.mark.foundry
class TestFamilies:
    def test_every_way_prompts_as_transformers_does(self, family, folders, bare, served, transformers) -> None:
        template, _ = choose_prompt_template(folders[family], None)
        assert (template is not None) is (family in BY_FOUR_STRINGS)
        ways = PromptWays(
            source=folders[family], artifact=folders[family], bare=bare, served=served, prompt_template=template
        )
        expected = expected_prompts(transformers, family)
        asked = {name: DomainPrompt(messages=CONVERSATIONS[name], prompt=one) for name, one in expected.items() if one}
        found = prompt_parity(ways, asked, expected)
        assert (found.faults, found.remarks) == ((), ())
        assert len(asked) >= 30

    def test_foundry_answers_as_the_bare_runtime_does(self, family, served, bare, transformers) -> None:
        taken = [name for name, prompt in expected_prompts(transformers, family).items() if prompt]
        asked = {name: CONVERSATIONS[name] for name in taken if all(turn["content"] for turn in CONVERSATIONS[name])}
        assert len(asked) >= 25
        for name, messages in asked.items():
            answers = [session.answer(messages, max_new_tokens=12) for session in (served, bare)]
            assert answers[0].text == answers[1].text, name
            assert answers[0].timeline.prompt_tokens == answers[1].timeline.prompt_tokens, name

    def test_what_the_template_refuses_is_refused_and_the_next_is_answered(
        self, family, host, served, transformers
    ) -> None:
        expected = expected_prompts(transformers, family)
        refused = [
            name for name in expected if expected[name] is None and all(t["content"] for t in CONVERSATIONS[name])
        ]
        assert bool(refused) is (family == "GEMMA")
        url, model_id = host.serve(), f"family-{family}:1"
        clients = [
            FoundryHttpSession(url, model_id, context_length=served.context_length, streams=s) for s in (True, False)
        ]
        for session in (served, *clients):
            for name in refused:
                with pytest.raises(InvalidPromptError, match="System role not supported"):
                    session.answer(CONVERSATIONS[name], max_new_tokens=4)
            assert session.answer(CONVERSATIONS["a single question"], max_new_tokens=4).completion_tokens

    def test_the_tokenizers_own_end_is_the_models(self, family, bare, transformers) -> None:
        assert set(bare.end_ids) == {transformers[family]["eos"]}

    def test_letters_in_two_parts_are_the_difference_that_is_known(self, family, bare, transformers) -> None:
        composed, parted = (transformers[family]["letters"][form] for form in ("composed", "parted"))
        assert composed == parted
        assert bare.encode("cafe\u0301") != bare.encode("caf\u00e9") == composed


def test_there_are_families_and_conversations_enough() -> None:
    assert len(FAMILIES) >= 8
    assert len(CONVERSATIONS) >= 30


PIECES = {1: "<s>", 2: "<|im_start|>", 3: "assistant", 4: "\n", 5: "hi"}


def test_a_missing_newline_is_shown_as_a_diff_of_tokens() -> None:
    assert token_difference([5, 2, 3, 4], [5, 2, 3], PIECES.__getitem__) == (
        "  2 '<|im_start|>'\n  3 'assistant'\n- 4 '\\n'"
    )
    assert token_difference([5, 2], [5, 2], PIECES.__getitem__) is None
    assert token_difference([5], [3], PIECES.__getitem__) == "- 5 'hi'\n+ 3 'assistant'"


def test_the_tutorials_template_is_reported_exactly_so() -> None:
    question = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant"
    expected = EncodedPrompt(text=f"{question}\n", ids=(5, 2, 3, 4))
    faults = list(prompt_faults(expected, EncodedPrompt(text=question, ids=(5, 2, 3)), piece=PIECES.__getitem__))
    assert faults[0] == "the assistant turn opens without its newline"
    assert faults[1].endswith("- 4 '\\n'")


@pytest.mark.parametrize(("ids", "begins"), [((5,), 0), ((1, 1, 5), 2)])
def test_a_beginning_that_stands_twice_or_not_at_all_is_told(ids: tuple[int, ...], begins: int) -> None:
    prompt = EncodedPrompt(text="hi", ids=ids)
    (fault,) = prompt_faults(prompt, prompt, piece=PIECES.__getitem__, begin_id=1)
    assert fault == f"the prompt begins with {begins} beginning-of-sequence tokens '<s>'"
    once = EncodedPrompt(text="hi", ids=(1, 5))
    assert list(prompt_faults(once, once, piece=PIECES.__getitem__, begin_id=1)) == []


def test_a_control_token_in_pieces_is_told() -> None:
    (fault,) = control_token_faults(lambda text: [ord(letter) for letter in text], {"<s>": 1})
    assert fault == "'<s>' is not the single token 1 but [60, 115, 62]"
    assert list(control_token_faults(lambda text: [7, 1, 8] if text.startswith("a") else [1], {"<s>": 1})) == []


class Prompter:
    """A runtime that prompts as the folder's template says, with whole control tokens; faults are planted in it."""

    def __init__(self, folder: Path, *, cut: str = "", begin: tuple[int, ...] = (), extra: int = 0) -> None:
        self._folder, self._cut, self._begin, self._extra = folder, cut, begin, extra
        self._controls = control_tokens(folder)

    def render(self, messages: Sequence[Message]) -> str:
        return render_chat_template(self._folder, messages).removesuffix(self._cut)

    def encode(self, text: str) -> list[int]:
        parts = re.split(f"({'|'.join(map(re.escape, self._controls))})", text)
        return [*self._begin, *(self._controls.get(part) or sum(map(ord, part)) + 10**6 for part in parts if part)]

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        return len(self.encode(self.render(messages))) + self._extra


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokens = [{"content": token, "id": 7 + n, "special": True} for n, token in enumerate(("<s>", "<|im_end|>"))]
    files: dict[str, object] = {
        "tokenizer.json": {"added_tokens": tokens, "model": {"vocab": {"hi": 1}}},
        "tokenizer_config.json": {"bos_token": "<s>", "eos_token": "<|im_end|>"},
        "generation_config.json": {"eos_token_id": [8]},
        "genai_config.json": {"model": {"eos_token_id": 8}},
    }
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "chat_template.jinja").write_text(templates.CHATML)
    return tmp_path


def found(
    folder: Path,
    bare: Prompter,
    served: Prompter,
    template: dict[str, str] | None = None,
    domain: Sequence[str] = ("a single question", "a second question"),
    *,
    is_template_read: bool = True,
) -> PromptParity:
    healthy = Prompter(folder)
    expected: dict[str, EncodedPrompt | None] = {
        name: EncodedPrompt(text=(text := healthy.render(messages)), ids=tuple(healthy.encode(text)))
        for name, messages in CONVERSATIONS.items()
    }
    ways = PromptWays(
        source=folder,
        artifact=folder,
        bare=bare,
        served=served,
        prompt_template=template,
        is_template_read=is_template_read,
    )
    asked = {name: DomainPrompt(messages=CONVERSATIONS[name], prompt=one) for name in domain if (one := expected[name])}
    return prompt_parity(ways, asked, expected)


def test_ways_that_prompt_alike_have_no_fault(folder: Path) -> None:
    alike = found(folder, Prompter(folder), Prompter(folder), derive_prompt_template(folder))
    assert (alike.faults, alike.remarks) == ((), ())


def test_each_way_that_prompts_otherwise_is_named(folder: Path) -> None:
    healthy, unopened = Prompter(folder), Prompter(folder, cut="\n")
    (first, *_) = found(folder, unopened, healthy).faults
    assert first.startswith("onnxruntime-genai, a single question: the assistant turn opens without its newline")
    (first, *_) = found(folder, healthy, Prompter(folder, extra=1)).faults
    assert first.startswith("Foundry Local, a single question: ")
    template = derive_prompt_template(folder)
    tutorial = template | {"prompt": template["prompt"].removesuffix("\n")}
    (first, *_) = found(folder, healthy, healthy, tutorial).faults
    assert first.startswith("PromptTemplate (read by Foundry Local 0.x and 1.x), a single question: ")
    assert first.endswith("the assistant turn opens without its newline")


def test_a_template_that_nobody_reads_informs(folder: Path) -> None:
    healthy, template = Prompter(folder), derive_prompt_template(folder)
    wrong = template | {"prompt": template["prompt"].removesuffix("\n")}
    told = found(folder, healthy, healthy, wrong, is_template_read=False)
    assert told.faults == ()
    assert told.remarks[0].startswith("PromptTemplate (read by Foundry Local 0.x and 1.x), a single question: ")


class LongWords(Prompter):
    """A runtime that cuts a long run of one letter elsewhere."""

    def encode(self, text: str) -> list[int]:
        return [*super().encode(text), *([99] if "x" * 40 in text else [])]


def test_what_no_domain_asks_informs_with_its_cause(folder: Path) -> None:
    told = found(folder, LongWords(folder), Prompter(folder))
    assert told.faults == ()
    assert any(one.startswith("onnxruntime-genai, a long word: other tokens") for one in told.remarks)
    asked = found(folder, LongWords(folder), Prompter(folder), domain=["a long word"])
    assert asked.faults[0].startswith("onnxruntime-genai, a long word: other tokens")
    assert "cut elsewhere" in asked.faults[0]


class Splitting(Prompter):
    """A runtime that does not know some control tokens."""

    def __init__(self, folder: Path, *unknown: str) -> None:
        super().__init__(folder)
        self._controls = {token: index for token, index in self._controls.items() if token not in unknown}


def test_split_control_tokens_decide_only_where_the_template_has_them(folder: Path) -> None:
    assert (
        "'<|im_end|>' is not the single token 8"
        in found(folder, Splitting(folder, "<|im_end|>"), Prompter(folder)).faults[-1]
    )
    unused = found(folder, Splitting(folder, "<s>"), Prompter(folder))
    assert unused.faults == ()
    assert any("'<s>' is not the single token 7" in one for one in unused.remarks)


def test_a_second_beginning_and_other_ends_are_told(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ bos_token }}" + templates.CHATML)
    assert found(folder, Prompter(folder), Prompter(folder)).faults == ()
    faults = found(folder, Prompter(folder, begin=(7,)), Prompter(folder)).faults
    assert any("begins with 2 beginning-of-sequence tokens '<s>'" in fault for fault in faults)
    (folder / "genai_config.json").write_text(json.dumps({"model": {"eos_token_id": [8, 9]}}))
    assert list(end_faults(folder, folder)) == ["answers end at the tokens [8, 9], the source model's at [8]"]
    assert "answers end at" in found(folder, Prompter(folder), Prompter(folder)).faults[-1]
