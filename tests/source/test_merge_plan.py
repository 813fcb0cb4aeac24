"""What an adapter does to its base, planned from names and shapes; test_merge_live.py holds the sums against PEFT."""

import pytest

from harness.errors import SourceError
from harness.source.adapter import Adapter
from harness.source.merge_plan import BaseModel, Change, Lora, plan_merge
from tests.controls.marks import Way, broken

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
Q, UP = "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj"
SHAPES = {
    EMBEDDING: (8, 32),
    f"{Q}.weight": (32, 32),
    f"{Q}.bias": (32,),
    f"{UP}.weight": (64, 32),
    "model.norm.weight": (32,),
}
LORA = {f"{Q}.lora_A.weight": (4, 32), f"{Q}.lora_B.weight": (32, 4)}
SETTINGS = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "peft_version": "0.21.2"}
ROWS = "model.embed_tokens.token_adapter.trainable_tokens_delta"


@pytest.fixture
def plan(tmp_path):
    """The plan for an adapter that holds `tensors`, named as in PEFT's live model without its prefix."""

    def make(tensors=LORA, *, tied=False, prefix="base_model.model.", model_type="qwen2", **settings):
        shapes = SHAPES if tied else {**SHAPES, HEAD: (8, 32)}
        base = BaseModel(shapes=shapes, vocabulary_size=8, is_tied=tied, model_type=model_type)
        adapter = Adapter(folder=tmp_path, settings={**SETTINGS, **settings})
        return plan_merge(adapter, {f"{prefix}{name}": shape for name, shape in tensors.items()}, base)

    return make


def own(name):
    return f"base_model.model.{name}"


def test_lora_on_a_matrix_is_a_product_with_a_factor(plan):
    made = plan(use_rslora=True)
    lora = Lora(down=own(f"{Q}.lora_A.weight"), up=own(f"{Q}.lora_B.weight"), scale=4.0)
    assert made.changes == {f"{Q}.weight": Change(lora=lora)}
    assert (made.tie, made.vocabulary_size, made.remarks) == (None, 8, ())


def test_bias_magnitude_and_whole_tensors_find_their_places(plan):
    tensors = {**LORA, f"{Q}.lora_B.bias": (32,), f"{Q}.base_layer.bias": (32,), f"{Q}.lora_magnitude_vector": (32,)}
    made = plan(
        {**tensors, "model.norm.weight": (32,)}, use_dora=True, bias="all", lora_bias=True, modules_to_save=["norm"]
    )
    assert made.changes[f"{Q}.weight"].lora.magnitude == own(f"{Q}.lora_magnitude_vector")
    bias = Change(replacement=own(f"{Q}.base_layer.bias"), addend=(own(f"{Q}.lora_B.bias"), 2.0))
    assert made.changes[f"{Q}.bias"] == bias
    assert made.changes["model.norm.weight"] == Change(replacement=own("model.norm.weight"))


def test_what_peft_saves_twice_counts_once(plan):
    copies = {
        "lm_head.weight": (8, 32),
        "lm_head.modules_to_save.weight": (8, 32),
        "lm_head.original_module.weight": (8, 32),
    }
    assert plan({**LORA, **copies}, modules_to_save=["lm_head"]).changes[HEAD].replacement == own("lm_head.weight")


TIED = {
    "trained embedding": ({EMBEDDING: (8, 32)}, {"modules_to_save": ["embed_tokens"]}, {EMBEDDING}, (), False),
    "trained head": ({HEAD: (8, 32)}, {"modules_to_save": ["lm_head"]}, {HEAD}, (), False),
    "both trained": ({EMBEDDING: (8, 32), HEAD: (8, 32)}, {"modules_to_save": ["embed_tokens", "lm_head"]}, {EMBEDDING, HEAD}, (), False),
    "one trained for both": ({EMBEDDING: (8, 32), HEAD: (8, 32)}, {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}, {EMBEDDING}, (HEAD,), True),
    "the one matrix": ({EMBEDDING: (8, 32), HEAD: (8, 32)}, {}, set(), (EMBEDDING, HEAD), False),
    "rows": ({ROWS: (2, 32)}, {"trainable_token_indices": [1, 7]}, {EMBEDDING}, (), True),
    "the same rows of both": ({ROWS: (2, 32)}, {"trainable_token_indices": {"embed_tokens": [1, 7], "lm_head": [1, 7]}}, {EMBEDDING}, (), True),
    "other rows of the head": ({ROWS: (1, 32), "lm_head.token_adapter.trainable_tokens_delta": (1, 32)},
        {"trainable_token_indices": {"embed_tokens": [1], "lm_head": [2]}}, {EMBEDDING, HEAD}, (), False),
}  # fmt: skip


@pytest.mark.parametrize("name", TIED)
def test_a_matrix_that_embedding_and_head_share(plan, name):
    tensors, settings, changed, shared, follows = TIED[name]
    made = plan({**LORA, **tensors}, tied=True, **settings)
    assert set(made.changes) - {f"{Q}.weight"} == changed
    assert (made.tie.embedding, made.tie.head, made.tie.follows) == (EMBEDDING, HEAD, follows)
    assert made.tie.shared == tuple(own(name) for name in shared)


def test_lora_on_one_use_of_a_shared_matrix_changes_that_use_only(plan):
    embedding = {"model.embed_tokens.lora_embedding_A": (4, 8), "model.embed_tokens.lora_embedding_B": (32, 4)}
    made = plan({**embedding, "model.embed_tokens.base_layer.weight": (8, 32)}, tied=True)
    assert made.changes[EMBEDDING].lora.is_embedding
    assert HEAD not in made.changes
    assert made.tie.shared == (own("model.embed_tokens.base_layer.weight"),)
    kept = {**embedding, "lm_head.lora_A.weight": (4, 32), "lm_head.lora_B.weight": (8, 4)}
    made = plan(kept, tied=True, target_modules=["embed_tokens"], ensure_weight_tying=True)
    assert (set(made.changes), made.tie.follows) == ({EMBEDDING}, True)


RESIZED = {
    "both": (False, {EMBEDDING: (10, 32), HEAD: (10, 32)}, {}),
    "fewer": (False, {EMBEDDING: (7, 32), HEAD: (7, 32)}, {}),
    "both trained": (False, {EMBEDDING: (10, 32), HEAD: (10, 32)}, {"modules_to_save": ["embed_tokens", "lm_head"]}),
    "tied": (True, {EMBEDDING: (10, 32)}, {}),
    "tied, one trained": (True, {EMBEDDING: (10, 32), HEAD: (10, 32)}, {"modules_to_save": ["embed_tokens"]}),
    "tied, rows": (True, {"model.embed_tokens.token_adapter.base_layer.weight": (10, 32), ROWS: (2, 32)}, {"trainable_token_indices": [8, 9]}),
    "tied, kept so": (True, {EMBEDDING: (10, 32)}, {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}),
}  # fmt: skip


@pytest.mark.parametrize("name", RESIZED)
def test_tokens_that_were_added_change_the_vocabulary(plan, name):
    tied, tensors, settings = RESIZED[name]
    expected = 7 if name == "fewer" else 10
    assert plan({**LORA, **tensors}, tied=tied, **settings).vocabulary_size == expected


REFUSED = {
    "numbers in a row": (dict.fromkeys(LORA, (32,)), {}, r"has the shape \[32\], which is not LoRA's"),
    "rows in a row": ({**LORA, ROWS: (32,)}, {"trainable_token_indices": [1]}, "which is not LoRA's"),
    "half a product": ({f"{Q}.lora_A.weight": (4, 32)}, {}, "no lora_B to it"),
    "the other half": ({f"{Q}.lora_B.weight": (32, 4)}, {}, "no lora_A to it"),
    "half of an embedding's": ({"model.embed_tokens.lora_embedding_A": (4, 8)}, {}, "no lora_B to it"),
    "another rank": ({f"{Q}.lora_A.weight": (4, 32), f"{Q}.lora_B.weight": (32, 4)}, {"r": 8}, "says rank 8 for .*, and its .* has 4 of 4"),
    "two ranks": ({f"{Q}.lora_A.weight": (4, 32), f"{Q}.lora_B.weight": (32, 3)}, {}, "has 4 of 3"),
    "another base": ({f"{Q}.lora_A.weight": (4, 48), f"{Q}.lora_B.weight": (32, 4)}, {}, r"another base: .* is \[32, 32\], its change \[32, 48\]"),
    "another base's norm": ({**LORA, "model.norm.weight": (48,)}, {}, "trained on another base"),
    "a module too much": ({**LORA, "score.weight": (2, 32)}, {}, "changes score.weight, which its base model does not have"),
    "a bias without one": ({**LORA, f"{UP}.lora_A.weight": (4, 32), f"{UP}.lora_B.weight": (64, 4), f"{UP}.lora_B.bias": (64,)}, {"lora_bias": True}, "up_proj.bias, which its base"),
    "DoRA without lengths": (LORA, {"use_dora": True}, "use_dora is True, and the adapter has no lora_magnitude_vector"),
    "lengths without DoRA": ({**LORA, f"{Q}.lora_magnitude_vector": (32,)}, {}, "has a lora_magnitude_vector"),
    "another method's tensor": ({**LORA, f"{Q}.lora_diag": (4,)}, {}, "lora_diag is no part of LoRA"),
    "a lost module": (LORA, {"modules_to_save": ["lm_head"]}, "modules_to_save names 'lm_head'"),
    "a copy of nothing": ({**LORA, "lm_head.modules_to_save.weight": (8, 32)}, {"modules_to_save": ["lm_head"]}, "no part of LoRA"),
    "lost rows": (LORA, {"trainable_token_indices": [1]}, "no rows for the tokens of its trainable_token_indices"),
    "rows of nobody": ({**LORA, ROWS: (2, 32)}, {}, "trainable_token_indices names 0 tokens"),
    "another number of rows": ({**LORA, ROWS: (2, 32)}, {"trainable_token_indices": [1]}, "names 1 tokens .* has 2 rows"),
    "rows beyond the vocabulary": ({**LORA, ROWS: (2, 32)}, {"trainable_token_indices": [1, 8]}, "names token 8, and .* has 8 rows"),
    "an untargeted module": (LORA, {"target_modules": ["v_proj"]}, "which its target_modules do not name"),
    "an untransformed layer": (LORA, {"target_modules": ["q_proj"], "layers_to_transform": [1]}, "target_modules do not name"),
    "empty tensors": (dict.fromkeys(LORA, (0,)), {}, "tensors are empty .*: gather them before saving"),
    "one empty tensor": ({**LORA, "lm_head.weight": (0,)}, {}, r"tensors are empty \(1 of 3"),
    "one matrix resized": ({**LORA, EMBEDDING: (10, 32)}, {}, "tokens were added to one of two matrices: .*10 rows and lm_head.weight has 8"),
    "LoRA on a resized matrix": ({"lm_head.lora_A.weight": (4, 32), "lm_head.lora_B.weight": (10, 4)}, {}, "tokens were added before training"),
    "a compiled model": ({f"_orig_mod.{name}": shape for name, shape in LORA.items()}, {}, "_orig_mod is in its name"),
    "a model of several processes": ({name.replace("self_attn", "_fsdp_wrapped_module.self_attn"): shape for name, shape in LORA.items()}, {}, "_fsdp_wrapped_module is in its name"),
    "a raw state": ({name.replace(".weight", ".default.weight"): shape for name, shape in LORA.items()}, {}, "default is in its name"),
    "another program's names": (LORA, {"prefix": "model."}, "does not begin with base_model.model."),
    "matrices with inputs first": (LORA, {"model_type": "gpt2"}, "fan_in_fan_out: gpt2"),
}  # fmt: skip


@broken("adapters that PEFT would not load, or not whole", way=Way.SOURCE)
@pytest.mark.parametrize("name", REFUSED)
def test_what_peft_would_not_load_or_not_load_whole_is_refused(plan, name):
    tensors, settings, told = REFUSED[name]
    if name == "a compiled model":
        settings = {"prefix": "base_model.model."}
    with pytest.raises(SourceError, match=told) as refused:
        plan(tensors, **settings)
    assert refused.value.next_step


@pytest.mark.parametrize("name", ["one trained matrix of a resized base", "an embedding that is not found"])
def test_a_shared_matrix_that_cannot_be_told_apart_is_refused(plan, tmp_path, name):
    if name.startswith("one"):
        with pytest.raises(SourceError, match="added to one of two matrices"):
            plan({**LORA, EMBEDDING: (10, 32)}, tied=True, modules_to_save=["embed_tokens"])
    else:
        base = BaseModel(shapes={"wte.weight": (8, 32)}, vocabulary_size=8, is_tied=True, model_type="other")
        with pytest.raises(SourceError, match="ties its output head to an embedding that is not found"):
            plan_merge(Adapter(folder=tmp_path, settings=SETTINGS), {own("wte.weight"): (8, 32)}, base)


def test_what_peft_loads_without_a_word_is_told(plan):
    (told,) = plan(target_modules=["q_proj", "up_proj"]).remarks
    assert "name 1 matrices that it has no change of (first model.layers.0.mlp.up_proj)" in told
    (told,) = plan(bias="lora_only").remarks
    assert "bias = 'lora_only' and holds no model.layers.0.self_attn.q_proj.bias" in told
    patterns = {"rank_pattern": {"q_proj": 4}, "alpha_pattern": {r"0\.self_attn\.q_proj": 2}}
    (told,) = plan(**patterns, peft_version=None).remarks
    assert "before 0.14 obeyed the former only" in told
    assert plan(**patterns).remarks == ()
    assert plan(rank_pattern={"q_proj": 4}, alpha_pattern={"q_proj": 2}, peft_version=None).remarks == ()
