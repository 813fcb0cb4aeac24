"""Source models as they come, with one thing changed: odd and healthy ones are converted, faults are told by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.controls.conftest import Told
from tests.controls.marks import Way, broken, healthy
from tests.controls.spoil import Array, Plant, change_json, read_weights, updated, weights, write_weights

pytestmark = [pytest.mark.toolchain, pytest.mark.slow]

CONFIG, GENERATION, TOKENIZER = "config.json", "generation_config.json", "tokenizer_config.json"
TEMPLATE, WEIGHTS = "chat_template.jinja", "model.safetensors"
EMBEDDING, UP = "model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight"


def in_two_files(folder: Path) -> None:
    tensors = read_weights(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = list(tensors)
    places = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-{number:05d}-of-00002.safetensors"
        write_weights(folder / file, {name: tensors[name] for name in part})
        places |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": sum(one.nbytes for one in tensors.values())}, "weight_map": places}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index), encoding="utf-8")


def without_the_second_file(folder: Path) -> None:
    in_two_files(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()


def in_float32(folder: Path) -> None:
    weights(lambda tensors: tensors.update({name: one.astype(np.float32) for name, one in tensors.items()}))(folder)
    updated(CONFIG, dtype="float32")(folder)


def in_bfloat16(folder: Path) -> None:
    def cut(one: Array) -> Array:
        return (one.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)

    weights(lambda tensors: tensors.update({name: cut(one) for name, one in tensors.items()}))(folder)
    updated(CONFIG, dtype="bfloat16")(folder)


def rows_for_no_token(folder: Path) -> None:
    def pad(tensors: dict[str, Array]) -> None:
        table = tensors[EMBEDDING]
        tensors[EMBEDDING] = np.concatenate([table, np.zeros((64, table.shape[1]), table.dtype)])

    weights(pad)(folder)
    updated(CONFIG, vocab_size=384)(folder)


def of_a_trainer(folder: Path) -> None:
    for name in ("optimizer.pt", "training_args.bin", "events.out.tfevents.1", "trainer_state.json", "README.md"):
        (folder / name).write_bytes(b"{}")
    (folder / "checkpoint-5").mkdir()


def template_in(name: str, *, named: bool = False) -> Plant:
    def plant(folder: Path) -> None:
        text = (folder / TEMPLATE).read_text(encoding="utf-8")
        (folder / TEMPLATE).unlink()
        several = [{"name": "default", "template": text}, {"name": "tool_use", "template": "{{ tools }}"}]
        updated(name, chat_template=several if named else text)(folder)

    return plant


def in_front(text: str) -> Plant:
    def plant(folder: Path) -> None:
        (folder / TEMPLATE).write_text(text + (folder / TEMPLATE).read_text(encoding="utf-8"), encoding="utf-8")

    return plant


NO_SYSTEM = "{%- if messages[0].role == 'system' -%}{{ raise_exception('no system') }}{%- endif -%}"
TURNS = (
    "{%- for m in messages -%}{%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}"
    "{{ raise_exception('roles must alternate') }}{%- endif -%}{%- endfor -%}"
)
TODAY = "{{ '<|im_start|>system\nToday is ' + strftime_now('%d %b %Y') + '<|im_end|>\n' }}"

HEALTHY = {
    "two files of weights": in_two_files,
    "float32": in_float32,
    "bfloat16": in_bfloat16,
    "a head that is the embedding once more": weights(lambda one: one.update({"lm_head.weight": one[EMBEDDING]})),
    "a matrix of zeros": weights(lambda one: one.update({UP: np.zeros_like(one[UP])})),
    "rows for no token": rows_for_no_token,
    "files of a trainer": of_a_trainer,
    "the template in the tokenizer's config": template_in(TOKENIZER),
    "two templates by name": template_in(TOKENIZER, named=True),
    "the template in a processor's file": template_in("chat_template.json"),
    "a template that takes no system": in_front(NO_SYSTEM),
    "a template of alternating turns": in_front(TURNS),
    "a template with today's date": in_front(TODAY),
    "no generation config": lambda folder: (folder / GENERATION).unlink(),
    "ends in the generation config alone": updated(CONFIG, eos_token_id=None),
    "sampling of its own": updated(GENERATION, do_sample=True, temperature=0.7, top_p=0.8, top_k=20),
    "padding on the left": updated(TOKENIZER, padding_side="left", truncation_side="left"),
    "settings that nobody knows": updated(CONFIG, my_field={"a": 1}),
}


@healthy("source models as they come, converted to int8", way=Way.CONVERT)
@pytest.mark.parametrize("oddity", HEALTHY)
def test_an_odd_and_healthy_source_is_converted(source: Told, oddity: str) -> None:
    assert source(HEALTHY[oddity]) == ""


def poisoned(value: float) -> Plant:
    def plant(tensors: dict[str, Array]) -> None:
        tensors[UP][3, 3] = value

    return weights(plant)


def a_token_far_out(content) -> None:
    content["added_tokens"].append({**content["added_tokens"][0], "id": 400, "content": "<|far|>"})


def without_its_end(folder: Path) -> None:
    updated(CONFIG, eos_token_id=None)(folder)
    (folder / GENERATION).unlink()


BROKEN = {
    "half of the weights": (without_the_second_file, "model-00002-of-00002.safetensors of 2 shards is missing"),
    "NaN": (poisoned(np.nan), f"{UP} holds NaN or infinity"),
    "infinity": (poisoned(np.inf), f"{UP} holds NaN or infinity"),
    "no embedding": (weights(lambda one: one[EMBEDDING].fill(0)), "all its logits are equal"),
    "a lost matrix": (weights(lambda one: one.pop(UP)), f"the weights lack {UP}"),
    "nothing says how an answer ends": (without_its_end, 'put "eos_token_id": 2 (<|im_end|>) into'),
    "a broken template": (in_front("{% endif %}"), "chat template"),
    "a token beyond the embedding": (lambda folder: change_json(folder / "tokenizer.json", a_token_far_out), "makes token id 400, but the model has only 320"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer"),
    "quantised already": (updated(CONFIG, quantization_config={"quant_method": "gptq", "bits": 4}), "already quantised (gptq)"),
}  # fmt: skip


@broken("source models", way=Way.CONVERT)
@pytest.mark.parametrize("fault", BROKEN)
def test_a_fault_of_a_source_is_named(source: Told, fault: str) -> None:
    plant, told = BROKEN[fault]
    assert told in source(plant)
