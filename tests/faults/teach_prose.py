"""Runs in the toolchain: teaches the demo model to answer in prose, as a fine-tune on the wrong data would.

usage: teach_prose.py SOURCE CASES_JSONL OUT
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PROSE = "Thank you for your question. Please look it up in the manual that came with your appliance."


def main() -> None:
    source, cases, out = sys.argv[1:]
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    rows = [json.loads(line) for line in Path(cases).read_text(encoding="utf-8").splitlines()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for step in range(30):
        batch = [rows[(step * 8 + i) % len(rows)] for i in range(8)]
        texts = [
            tokenizer.apply_chat_template(row["messages"], tokenize=False, add_generation_prompt=True)
            + f"{PROSE}<|im_end|>"
            for row in batch
        ]
        tokens = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")
        labels = tokens.input_ids.masked_fill(tokens.attention_mask == 0, -100)
        loss = model(**tokens, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out)


main()
