"""Runs in the toolchain: what transformers makes of conversations with the tokenizers of some folders."""

import json
import sys
from pathlib import Path

from jinja2 import TemplateError
from transformers import AutoTokenizer


def main(job):
    result = {}
    for name, folder in job["folders"].items():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        prompts = []
        for messages in job["conversations"]:
            try:
                text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            except TemplateError as error:
                prompts.append({"refused": str(error)})
                continue
            ids = tokenizer.apply_chat_template(messages, tokenize=True, add_generation_prompt=True, return_dict=False)
            prompts.append({"text": text, "ids": ids})
        result[name] = {
            "prompts": prompts,
            "bos": tokenizer.bos_token_id,
            "eos": tokenizer.eos_token_id,
            "letters": {
                form: tokenizer(text, add_special_tokens=False)["input_ids"]
                for form, text in {"composed": "caf\u00e9", "parted": "cafe\u0301"}.items()
            },
        }
    return result


if __name__ == "__main__":
    job_file, result_file = map(Path, sys.argv[1:])
    result_file.write_text(json.dumps(main(json.loads(job_file.read_text(encoding="utf-8")))), encoding="utf-8")
