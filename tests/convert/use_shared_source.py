"""`TOOLCHAIN_PYTHON use_shared_source.py MODEL SCRIPT`: what workflows do to a shared source, and what they then find."""

import json
import runpy
import sys
from pathlib import Path

import torch
from olive.model.config import model_config
from transformers import AutoModelForCausalLM

model, script = sys.argv[1:]
source = runpy.run_path(script)["SharedSource"]()
bare, found = AutoModelForCausalLM.from_pretrained, {}


def first_weight(of):
    return of.model.layers[0].mlp.up_proj.weight


with source.in_place():
    one = AutoModelForCausalLM.from_pretrained(model, torch_dtype="auto")  # as Olive's int8 asks
    other = AutoModelForCausalLM.from_pretrained(model, cache_dir="x", token=True, trust_remote_code=False)  # as int4's
    found["reads"] = source.times_read
    found["is_one_memory"] = first_weight(one).data_ptr() == first_weight(other).data_ptr()
    found["is_tied"] = other.lm_head.weight is other.model.embed_tokens.weight

    one.model.layers[0].mlp.up_proj = torch.nn.Identity()
    other.to(torch.float64)
    third = AutoModelForCausalLM.from_pretrained(model)
    fresh = bare(model)
    found["reads_after_rebuilding"] = source.times_read
    found["is_whole"] = all(map(torch.equal, third.state_dict().values(), fresh.state_dict().values()))

    with torch.no_grad():
        first_weight(third).zero_()
    fourth = AutoModelForCausalLM.from_pretrained(model)
    found["reads_after_writing"] = source.times_read
    found["is_whole_again"] = all(map(torch.equal, fourth.state_dict().values(), fresh.state_dict().values()))

    wide = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float64)
    found["is_wide"] = first_weight(wide).dtype == torch.float64

    file = Path("hashed")
    file.write_text("a")
    before = [model_config.hash_file(file) for _ in range(2)]
    file.write_text("ab")
    found["hashes"] = [*before, model_config.hash_file(file)]

found["is_restored"] = AutoModelForCausalLM.from_pretrained == bare
sys.stdout.write(json.dumps(found))
