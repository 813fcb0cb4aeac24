"""Live PEFT, for the tests that hold merges against it. Runs in the toolchain's Python with peft on its path.

`live_peft.py make ROOT BASES_JSON CASES_JSON`: an adapter of random weights below ROOT for each case, as PEFT saves it,
and the logits of the model that was trained so.
`live_peft.py compare CASES_JSON`: the divergence of merged folders from these logits, and of PEFT's own merge, in nats.
"""

import json
import sys
import warnings
from pathlib import Path

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

warnings.simplefilter("ignore")
transformers.logging.set_verbosity_error()


def load(folder, tokens_added=0):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if tokens_added:
        torch.manual_seed(2)
        model.resize_token_embeddings(model.config.vocab_size + tokens_added)
    return model


def logits(model):
    ids = torch.randint(3, 300, (1, 100), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return model.eval()(ids).logits.double()


def make(root, bases, cases):
    folders = json.loads(bases)
    for name, case in json.loads(cases).items():
        torch.manual_seed(1)
        base = load(folders[case["base"]], case["tokens_added"])
        model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **case["config"]))
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += 0.2 * torch.randn_like(parameter)
        folder = Path(root, name)
        model.save_pretrained(folder)
        torch.save(logits(model), folder / "live.pt")


def nats(reference, other):
    reference, other = reference.log_softmax(-1), other.log_softmax(-1)
    return float((reference.exp() * (reference - other)).sum(-1).mean())


def compare(cases):
    found = {}
    for name, case in json.loads(cases).items():
        live = torch.load(Path(case["adapter"], "live.pt"))
        peft = PeftModel.from_pretrained(load(case["base"], case["tokens_added"]), case["adapter"])
        found[name] = {
            "merged": nats(live, logits(load(case["merged"]))),
            "reloaded": nats(live, logits(peft)),
            "peft_merged": nats(live, logits(peft.merge_and_unload())),
            "base": nats(live, logits(load(case["base"], case["tokens_added"]))),
        }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(*sys.argv[2:])
    else:
        compare(sys.argv[2])
