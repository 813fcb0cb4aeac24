"""The source model in transformers on CPU, in float32 or in its own precision, behind JSON lines.

Runs as a plain script of the toolchain, where the harness cannot be imported: `python reference_worker.py SETTINGS`.
One request a line on stdin, any number of `{"step": [done, total]}` and then one `{"ok"}`, `{"refused"}` or `{"error"}`
on stdout. Arrays go through files. It ends when stdin does.
"""

import json
import os
import runpy
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TOKENS_PER_BATCH = 16384
Prompt = list[int]


class Refused(Exception):
    """This prompt cannot be answered; the next one may be."""


class Reference:
    """Model and tokenizer, loaded once."""

    def __init__(
        self,
        path: str,
        trust_remote_code: bool,
        precision: str = "float32",
        template_options: dict[str, Any] | None = None,
    ) -> None:
        import torch  # only in the toolchain
        import transformers

        transformers.utils.logging.set_verbosity_error()
        torch.set_grad_enabled(False)
        trust = {"trust_remote_code": trust_remote_code}
        self.torch = torch
        self.template_options = template_options or {}
        load_tokenizer = runpy.run_path(str(Path(__file__).with_name("model_tokenizer.py")))["load_tokenizer"]
        self.tokenizer, _ = load_tokenizer(path, trust_remote_code)
        loader = transformers.AutoModelForCausalLM
        dtype = torch.float32 if precision == "float32" else "auto"
        self.model = loader.from_pretrained(path, dtype=dtype, **trust).eval()
        self.context_length = int(getattr(self.model.config, "max_position_embeddings", 0) or sys.maxsize)
        self.end_ids = self._end_ids()
        self._make_greedy()
        self.start()

    def _end_ids(self) -> list[int]:
        ends = self.model.generation_config.eos_token_id
        if ends is None:
            ends = self.tokenizer.eos_token_id
        return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)

    def _make_greedy(self) -> None:
        settings = self.model.generation_config
        settings.do_sample, settings.num_beams = False, 1
        settings.temperature = settings.top_p = settings.top_k = None
        settings.max_length = None
        settings.eos_token_id = self.end_ids or None
        pad = self.tokenizer.pad_token_id
        settings.pad_token_id = pad if pad is not None else (self.end_ids or [0])[0]

    def render(self, messages: list[dict[str, str]]) -> str:
        """Text of the prompt by the model's chat template."""
        import jinja2

        try:
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, **self.template_options
            )
        except (jinja2.TemplateError, TypeError, KeyError, ValueError, IndexError) as error:
            raise Refused(f"the chat template refused the conversation: {error}") from error
        return str(text)

    def encode(self, text: str) -> Prompt:
        """Token ids of a text, without added special tokens."""
        try:
            ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        except (TypeError, ValueError) as error:
            raise Refused(f"the tokenizer refused the text: {error}") from error
        return [int(token) for token in ids]

    def decode(self, token_ids: Prompt) -> str:
        """The text of generated tokens."""
        return str(self.tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def is_steppable(self) -> bool:
        """Whether the model's greedy answer is the argmax of its logits at every position."""
        settings = self.model.generation_config
        penalty = getattr(settings, "repetition_penalty", None) or 1.0
        return penalty == 1.0 and not getattr(settings, "no_repeat_ngram_size", None) and not settings.min_length

    def prepare(self, messages: list[dict[str, str]]) -> Prompt:
        """Token ids of a conversation that leaves room for an answer."""
        prompt = self.encode(self.render(messages))
        if not prompt:
            raise Refused("the prompt has no tokens")
        if len(prompt) >= self.context_length:
            raise Refused(f"the prompt has {len(prompt)} tokens and the context {self.context_length}")
        return prompt

    def logits(self, token_ids: Prompt, file: str) -> list[int]:
        """Save the logits of every position; returns their shape."""
        import numpy as np

        if not 0 < len(token_ids) <= self.context_length:
            raise Refused(f"{len(token_ids)} tokens do not fit a context of {self.context_length}")
        values = self.model(self.torch.tensor([token_ids]), use_cache=False).logits[0].float().numpy()
        np.save(file, values)
        return list(values.shape)

    def start(self) -> None:
        """Begin a new sequence for `append`."""
        import transformers

        self.read: Prompt = []
        self.past = transformers.DynamicCache(config=self.model.config)

    def append(self, token_ids: Prompt, keep: int, file: str) -> list[int]:
        """Read further tokens; save the logits behind the last `keep` of them, and return their shape."""
        import numpy as np

        if not token_ids or len(self.read) + len(token_ids) > self.context_length:
            raise Refused(f"{len(self.read) + len(token_ids)} tokens do not fit a context of {self.context_length}")
        values = self._forward(token_ids, keep).numpy()
        np.save(file, values)
        return list(values.shape)

    def _forward(self, token_ids: Prompt, keep: int) -> Any:
        ids = self.torch.tensor([token_ids])
        made = self.model(ids, past_key_values=self.past, use_cache=True, logits_to_keep=keep)
        self.read += token_ids
        values = made.logits[0, -keep:].float()
        self.best = int(values[-1].argmax())
        return values

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        self.past.crop(length - len(self.read))  # a negative number of tokens to drop
        del self.read[length:]

    def go_on(self, count: int, end_ids: Prompt) -> Prompt:
        """Up to `count` greedy tokens behind what was read, the first end included and last."""
        tokens: Prompt = []
        while len(tokens) < count and not (tokens and tokens[-1] in end_ids) and len(self.read) < self.context_length:
            tokens.append(self.best)
            self._forward([self.best], 1)
        return tokens

    def generate(self, prompts: list[Prompt], limit: int, min_new_tokens: int) -> list[dict[str, Any]]:
        """Greedy answers to prompts of similar length, padded on the left."""
        torch, width = self.torch, max(map(len, prompts))
        pad = self.model.generation_config.pad_token_id
        ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        least = {"min_new_tokens": min_new_tokens} if min_new_tokens else {}
        rows = self.model.generate(ids, attention_mask=mask, max_new_tokens=limit, **least)[:, width:].tolist()
        return [self._answer(row, min_new_tokens) for row in rows]

    def _answer(self, row: list[int], min_new_tokens: int) -> dict[str, Any]:
        ends = [place for place, token in enumerate(row) if token in self.end_ids and place >= min_new_tokens]
        tokens = row[: ends[0]] if ends else row
        return {"tokens": tokens, "text": self.decode(tokens), "finish": "stop" if ends else "length"}


def batches(lengths: dict[int, tuple[int, int]], size: int) -> Iterator[list[int]]:
    """Places of prompts in batches of the same limit, bounded in tokens; `lengths` is place -> (length, limit).

    The longest come first, so that a lack of memory shows at once.
    """
    batch: list[int] = []
    for place in sorted(lengths, key=lambda place: (-lengths[place][0], place)):
        limit = lengths[place][1]
        if batch:
            longest, batch_limit = lengths[batch[0]]
            is_full = len(batch) >= size or (len(batch) + 1) * (longest + limit) > TOKENS_PER_BATCH
            if is_full or limit != batch_limit:
                yield batch
                batch = []
        batch.append(place)
    if batch:
        yield batch


def answer_all(model: Reference, job: dict[str, Any], step: Callable[[int, int], None]) -> list[dict[str, Any]]:
    """Answers or refusals, in the order of the conversations."""
    results: dict[int, dict[str, Any]] = {}
    prompts: dict[int, Prompt] = {}
    for place, messages in enumerate(job["conversations"]):
        try:
            prompts[place] = model.prepare(messages)
        except Refused as reason:
            results[place] = {"refused": str(reason)}
    room = {place: min(job["max_new_tokens"], model.context_length - len(ids)) for place, ids in prompts.items()}
    lengths = {place: (len(ids), room[place]) for place, ids in prompts.items()}
    for batch in batches(lengths, job["batch_size"]):
        made = model.generate([prompts[place] for place in batch], room[batch[0]], job["min_new_tokens"])
        for place, answer in zip(batch, made, strict=True):
            results[place] = {**answer, "prompt_tokens": len(prompts[place])}
        step(len(results), len(job["conversations"]))
    return [results[place] for place in range(len(job["conversations"]))]


def serve(model: Reference, send: Callable[[dict[str, Any]], None]) -> None:
    """Answer requests until stdin ends; every reply carries its request's number."""
    request = 0

    def step(done: int, total: int) -> None:
        send({"request": request, "step": [done, total]})

    work: dict[str, Callable[[dict[str, Any]], Any]] = {
        "render": lambda job: model.render(job["messages"]),
        "encode": lambda job: model.encode(job["text"]),
        "logits": lambda job: model.logits(job["token_ids"], job["file"]),
        "decode": lambda job: model.decode(job["token_ids"]),
        "start": lambda _job: model.start(),
        "append": lambda job: model.append(job["token_ids"], job["keep"], job["file"]),
        "rewind": lambda job: model.rewind(job["length"]),
        "go_on": lambda job: model.go_on(job["count"], job["end_ids"]),
        "answers": lambda job: answer_all(model, job, step),
    }
    for line in sys.stdin:
        job = json.loads(line)
        request = job["request"]
        try:
            reply = {"ok": work[job["op"]](job)}
        except Refused as reason:
            reply = {"refused": str(reason)}
        except Exception as error:  # noqa: BLE001  # told to the parent, which decides
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        send({"request": request, **reply})


def main(settings: str) -> None:
    """Load the model, say what it is, and serve."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else prints goes to the log

    def send(reply: dict[str, Any]) -> None:
        channel.write(json.dumps(reply) + "\n")
        channel.flush()

    try:
        model = Reference(**json.loads(Path(settings).read_text(encoding="utf-8")))
    except Exception as error:  # noqa: BLE001  # told to the parent, which decides
        traceback.print_exc()
        send({"request": 0, "error": f"{type(error).__name__}: {error}"})
        return
    send(
        {
            "request": 0,
            "ok": {
                "context_length": model.context_length,
                "end_ids": model.end_ids,
                "is_steppable": model.is_steppable(),
            },
        }
    )
    serve(model, send)


if __name__ == "__main__":
    main(sys.argv[1])
