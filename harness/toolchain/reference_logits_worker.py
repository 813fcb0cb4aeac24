"""Computes token ids and logits of a source model.

Runs as a plain script of the toolchain, where the harness cannot be imported
(`python reference_logits_worker.py JOB_FILE RESULT_FILE`), or inside the conversion worker, which has torch in memory
already.
A part that fails leaves its error in a file beside that of its result.
"""

import json
import runpy
import sys
import traceback
from pathlib import Path
from typing import Any


def ask_tokens(part: dict[str, Any]) -> None:
    """Save the token ids of texts, without added special tokens, and the prompts of conversations."""
    load_tokenizer = runpy.run_path(str(Path(__file__).with_name("model_tokenizer.py")))["load_tokenizer"]
    tokenizer, facts = load_tokenizer(part["model"], part["trust"])
    said = {
        "texts": part["texts"],
        "ids": [tokenizer(text, add_special_tokens=False)["input_ids"] for text in part["texts"]],
        "prompts": {name: prompt_of(tokenizer, messages) for name, messages in part["conversations"].items()},
        "tokenizer": facts,
    }
    save(part["file"], lambda file: file.write_text(json.dumps(said), encoding="utf-8"))


def prompt_of(tokenizer: Any, messages: list[dict[str, str]]) -> str | None:
    """Text of a prompt by the chat template; None where the template refuses the conversation."""
    import jinja2

    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except (jinja2.TemplateError, TypeError, KeyError, ValueError, IndexError):
        return None


def ask_logits(part: dict[str, Any]) -> None:
    """Save the fp32 logits of a sequence at some positions; the first ones are computed without what follows."""
    import numpy as np
    import torch  # only in the toolchain
    import transformers

    loader = transformers.AutoModelForCausalLM
    model, told = loader.from_pretrained(
        part["model"], dtype=torch.float32, trust_remote_code=part["trust"], output_loading_info=True
    )
    if told["missing_keys"]:
        raise LookupError(
            f"the weights lack {sorted(told['missing_keys'])[0]}, so it would be filled with random numbers"
        )
    model.eval()
    tokens, count = torch.tensor([part["sequence"]]), part["short_count"]
    with torch.no_grad():
        short = model(tokens[:, :count], use_cache=False).logits[0]
        long = model(tokens, use_cache=False).logits[0, part["positions"][count:]]
    rows = torch.cat([short, long]).float().numpy()

    def write(file: Path) -> None:
        with file.open("wb") as stream:
            np.save(stream, rows)

    save(part["file"], write)


def save(file: str, write: Any) -> None:
    """Write a result atomically."""
    part = Path(f"{file}.part")
    write(part)
    part.replace(file)


def collect(parts: list[dict[str, Any]]) -> None:
    """Compute every part; a failure of one does not affect the others."""
    for part in parts:
        try:
            {"tokens": ask_tokens, "logits": ask_logits}[part["kind"]](part)
        except Exception as error:  # noqa: BLE001  # reported to the parent, which decides
            traceback.print_exc()
            told = f"{type(error).__name__}: {error}"
            save(f"{part['file']}.error", lambda file, told=told: file.write_text(told, encoding="utf-8"))


def main(job_file: str, result_file: str) -> None:
    """Do the job."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    collect(job["parts"])
    Path(result_file).write_text("{}", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
