"""Whether an answer can end: configs, chat template and tokenizer held against each other."""

import json

import pytest

from harness.errors import SourceError
from harness.source.ends import EndToken, configured_ends, end_of_sequence, end_of_turn, end_remark
from harness.source.source import resolve_source
from tests.controls.marks import Way, broken, healthy

CHATML = (
    "{%- if messages[0]['role'] != 'system' -%}{{ '<|im_start|>system\nHelp.<|im_end|>\n' }}{%- endif -%}"
    "{%- for m in messages -%}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
THINKING = (
    "{%- for m in messages -%}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{%- if m['role'] == 'assistant' -%}{{ '<think>\n\n</think>\n\n' }}{%- endif -%}{{ m['content'] + '<|im_end|>\n' }}"
    "{%- endfor -%}"
)
LLAMA3 = (
    "{{ bos_token }}{%- for m in messages -%}"
    "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}{%- endfor -%}"
)
GEMMA = (
    "{{ bos_token }}{%- for m in messages -%}{%- if m['role'] == 'system' -%}{{ raise_exception('no system') }}{%- endif -%}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + m['content'] + '<end_of_turn>\n' }}"
    "{%- endfor -%}"
)
LLAMA2 = "{%- for m in messages -%}{%- if m.role == 'user' -%}{{ '<s>[INST] ' + m.content + ' [/INST]' }}{%- else -%}{{ ' ' + m.content + ' ' + eos_token }}{%- endif -%}{%- endfor -%}"
PHI3 = (
    "{%- for m in messages -%}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{%- endfor -%}"
    "{%- if not add_generation_prompt -%}{{ eos_token }}{%- endif -%}"
)
PLAIN = "{%- for m in messages -%}{{ m.role + ': ' + m.content + '\n' }}{%- endfor -%}"
QWEN_TOKENS = {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
LLAMA3_TOKENS = {"<|begin_of_text|>": 0, "<|end_of_text|>": 1, "<|start_header_id|>": 2, "<|end_header_id|>": 3, "<|eom_id|>": 4, "<|eot_id|>": 5}  # fmt: skip
GEMMA_TOKENS = {"<bos>": 2, "<eos>": 1, "<start_of_turn>": 5, "<end_of_turn>": 6}
SPM_TOKENS = {"<unk>": 0, "<s>": 1, "</s>": 2}
PHI3_TOKENS = {"<s>": 1, "<|endoftext|>": 0, "<|end|>": 3, "<|user|>": 4, "<|assistant|>": 5}


@pytest.fixture
def family(toy_source):
    """Gives the toy source another template, tokenizer and ends."""

    def make(template, tokens, *, eos_token, generation=..., config=...):
        (toy_source / "chat_template.jinja").write_text(template)
        added = [{"id": number, "content": text} for text, number in tokens.items()]
        (toy_source / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 7}}, "added_tokens": added}))
        special = {"eos_token": eos_token, "bos_token": next(iter(tokens))}
        (toy_source / "tokenizer_config.json").write_text(json.dumps(special))
        settings = json.loads((toy_source / "config.json").read_text())
        (toy_source / "config.json").write_text(
            json.dumps({**settings, "eos_token_id": None if config is ... else config})
        )
        if generation is not ...:
            (toy_source / "generation_config.json").write_text(json.dumps({"eos_token_id": generation}))
        return toy_source

    return make


HEALTHY = {
    "Qwen": (CHATML, QWEN_TOKENS, {"eos_token": "<|im_end|>", "generation": [2, 0], "config": 2}),
    "Qwen whose config names its base's end": (CHATML, QWEN_TOKENS, {"eos_token": "<|im_end|>", "generation": [2, 0], "config": 0}),
    "Qwen that thinks": (THINKING, QWEN_TOKENS, {"eos_token": "<|im_end|>", "generation": [2, 0], "config": 2}),
    "Qwen whose tokenizer keeps its base's end": (CHATML, QWEN_TOKENS, {"eos_token": "<|endoftext|>", "config": [0, 2]}),
    "Llama 3": (LLAMA3, LLAMA3_TOKENS, {"eos_token": "<|eot_id|>", "generation": [1, 4, 5], "config": [1, 4, 5]}),
    "Llama 3 without a generation config": (LLAMA3, LLAMA3_TOKENS, {"eos_token": "<|eot_id|>", "config": [1, 4, 5]}),
    "Gemma": (GEMMA, GEMMA_TOKENS, {"eos_token": "<eos>", "generation": [1, 6], "config": 1}),
    "Gemma with its turn's end alone": (GEMMA, GEMMA_TOKENS, {"eos_token": "<eos>", "config": 6}),
    "Llama 2": (LLAMA2, SPM_TOKENS, {"eos_token": "</s>", "generation": 2, "config": 2}),
    "Phi 3": (PHI3, PHI3_TOKENS, {"eos_token": "<|endoftext|>", "generation": [3, 0], "config": 0}),
    "no end of turn in the template": (PLAIN, SPM_TOKENS, {"eos_token": "</s>", "config": 2}),
    "a tokenizer that names no end": (PLAIN, SPM_TOKENS, {"eos_token": None, "config": 2}),
}  # fmt: skip


@healthy("ends as families state them", way=Way.SOURCE)
@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_family_passes_without_a_word(family, name):
    template, tokens, ends = HEALTHY[name]
    assert resolve_source(str(family(template, tokens, **ends))).remarks == ()


ENDLESS = {
    "tuned from a base": (CHATML, QWEN_TOKENS, {"eos_token": "<|im_end|>", "generation": 0, "config": 0},
        ["'<|im_end|>' (2)", "generation_config.json names '<|endoftext|>' (0) only", '"eos_token_id": [0, 2]']),
    "the generation config outranks a config that is right": (CHATML, QWEN_TOKENS, {"eos_token": "<|im_end|>", "generation": [0], "config": [0, 2]},
        ["generation_config.json names '<|endoftext|>' (0) only"]),
    "a base's Llama 3": (LLAMA3, LLAMA3_TOKENS, {"eos_token": "<|end_of_text|>", "config": 1},
        ["the chat template closes a turn with '<|eot_id|>' (5)", "config.json names '<|end_of_text|>' (1) only", '"eos_token_id": [1, 5]']),
    "a base's Gemma": (GEMMA, GEMMA_TOKENS, {"eos_token": "<eos>", "generation": 1, "config": [1, 6]}, ["'<end_of_turn>' (6)"]),
    "a Phi 3 that ends its text alone": (PHI3, PHI3_TOKENS, {"eos_token": "<|endoftext|>", "config": 0}, ["'<|end|>' (3)"]),
    "no end of turn in the template": (PLAIN, SPM_TOKENS, {"eos_token": "</s>", "config": 5},
        ["the tokenizer ends a sequence with '</s>' (2)", "config.json names 5 only"]),
}  # fmt: skip


@broken("models whose answers never end", way=Way.SOURCE)
@pytest.mark.parametrize("name", ENDLESS)
def test_answers_that_never_end_are_told_with_the_fix(family, name):
    template, tokens, ends, told = ENDLESS[name]
    (remark,) = resolve_source(str(family(template, tokens, **ends))).remarks
    assert remark.startswith("answers may never end")
    assert [part for part in told if part not in remark] == []


@broken("models of which nothing says how an answer ends", way=Way.SOURCE)
@pytest.mark.parametrize(
    ("template", "eos_token", "told"),
    [
        (CHATML, None, 'put "eos_token_id": 2 (<|im_end|>) into generation_config.json'),
        (PLAIN, "<|endoftext|>", 'put "eos_token_id": 0 (<|endoftext|>) into generation_config.json'),
        (PLAIN, None, "put eos_token_id into generation_config.json"),
        ("{{ broken", "gone", "put eos_token_id into generation_config.json"),
    ],
    ids=["a template that ends its turns", "a tokenizer's end", "no end anywhere", "a broken template"],
)
@pytest.mark.parametrize(
    "generation", [..., None, []], ids=["no generation config", "a generation config without", "an empty list"]
)
def test_a_model_that_says_of_no_end_is_refused(family, template, eos_token, told, generation):
    folder = family(template, QWEN_TOKENS, eos_token=eos_token, generation=generation)
    with pytest.raises(SourceError, match="nothing says how an answer ends") as found:
        resolve_source(str(folder))
    assert found.value.next_step == told
    assert resolve_source(str(folder), is_base=True).eos_token_ids == ()


def test_an_end_that_no_tokenizer_has_is_told(family):
    """A tokenizer that was saved without the tokens that tuning added."""
    tokens = {text: number for text, number in QWEN_TOKENS.items() if number != 2}
    (remark,) = resolve_source(str(family(CHATML, tokens, eos_token="<|im_end|>", config=[2]))).remarks
    assert "config.json names token 2, which tokenizer.json does not have" in remark
    folder = family(CHATML, QWEN_TOKENS, eos_token="<|im_end|>", config=[2, 5])
    assert end_remark(folder) is None
    unigram = {"model": {"vocab": [["a", 0.0], ["b", -1.0], ["</s>", -2.0]]}, "added_tokens": []}
    (folder / "tokenizer.json").write_text(json.dumps(unigram))
    assert end_remark(folder) is None


def test_where_ends_are_read(family):
    folder = family(CHATML, QWEN_TOKENS, eos_token={"content": "<|im_end|>"}, config=[2, True, "0"])
    assert configured_ends(folder).ids == (2,)
    assert end_of_turn(folder) == end_of_sequence(folder) == EndToken(id=2, text="<|im_end|>")
    (folder / "tokenizer.json").unlink()  # what SentencePiece's tokenizers have in place of it
    decoder = {"2": {"content": "<|im_end|>"}, "1": {"content": "<|im_start|>"}}
    settings = {"eos_token": "<|im_end|>", "added_tokens_decoder": decoder}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert end_of_turn(folder) == EndToken(id=2, text="<|im_end|>")
    (folder / "config.json").write_text("{")
    with pytest.raises(SourceError, match=r"config\.json is not valid JSON"):
        end_remark(folder)


@broken("two templates in one folder", way=Way.SOURCE)
@pytest.mark.parametrize(("first", "second"), [("chat_template.jinja", "tokenizer_config.json"), ("chat_template.jinja", "chat_template.json")])  # fmt: skip
def test_files_that_hold_different_templates_are_both_named(toy_source, first, second):
    (toy_source / second).write_text(json.dumps({"chat_template": "{{ messages | tojson }}"}))
    (remark,) = resolve_source(str(toy_source)).remarks
    assert f"{first} and {second} hold different chat templates" in remark
    (toy_source / second).write_text(json.dumps({"chat_template": "{{ messages }}\n"}))
    assert resolve_source(str(toy_source)).remarks == ()


def test_a_converted_folder_is_held_against_its_own_config(family):
    folder = family(CHATML, QWEN_TOKENS, eos_token="<|im_end|>", config=[2, 0])
    (folder / "genai_config.json").write_text(json.dumps({"model": {"eos_token_id": 0}}))
    remark = end_remark(folder)
    assert "genai_config.json names '<|endoftext|>' (0) only" in remark
    assert remark.endswith('put "eos_token_id": [0, 2] into genai_config.json')
    (folder / "genai_config.json").write_text(json.dumps({"model": {"eos_token_id": [2]}}))
    assert end_remark(folder) is None
