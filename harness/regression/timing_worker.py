"""Runs alone in a process, under an onnxruntime-genai of its own: loads a model, asks it, and reports the times.

Never imported: it needs nothing but the runtime, so that any environment that has one can run it.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Load the job's folder and ask its conversations round by round until the time is over."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import numpy
    import onnxruntime_genai as og

    config = og.Config(job["folder"])
    if job["overlay"]:
        config.overlay(job["overlay"])
    config.clear_providers()
    model = og.Model(config)
    tokenizer = og.Tokenizer(model)

    def answer(conversation: list[dict[str, str]], most: int, least: int) -> tuple[list[int], list[float]]:
        start_s = time.perf_counter()
        text = tokenizer.apply_chat_template(json.dumps(conversation), add_generation_prompt=True)
        prompt = numpy.asarray(tokenizer.encode(text), dtype=numpy.int32)
        params = og.GeneratorParams(model)
        longest = len(prompt) + most
        params.set_search_options(do_sample=False, max_length=longest, min_length=len(prompt) + least, batch_size=1)
        generator = og.Generator(model, params)
        generator.append_tokens(prompt)
        tokens: list[int] = []
        seen_s: list[float] = []
        while not generator.is_done():
            generator.generate_next_token()
            tokens.append(int(generator.get_next_tokens()[0]))
            seen_s.append(time.perf_counter())
        return tokens, [one - start_s for one in seen_s]

    count = job["new_tokens"]
    answers = [answer(one, count, 0)[0] for one in job["conversations"]] if job["has_answers"] else []
    for conversation in job["conversations"][: job["warmup"]]:
        answer(conversation, count, count)
    started_s = time.perf_counter()
    rounds: list[list[float]] = []
    while not rounds or time.perf_counter() - started_s < job["least_s"]:
        for conversation in job["conversations"]:
            times = answer(conversation, count, count)[1]
            gaps = [b - a for a, b in itertools.pairwise(times)]
            rounds.append([times[-1], times[0], statistics.median(gaps)])
    return {"times": rounds, "answers": answers, "version": og.__version__}


if __name__ == "__main__":
    job_file, result_file = map(Path, sys.argv[1:])
    try:
        result = main(json.loads(job_file.read_text(encoding="utf-8")))
    except (RuntimeError, OSError, ValueError, ImportError) as error:
        result = {"error": {"what": f"a side cannot be timed: {str(error).splitlines()[0]}", "where": None}}
    result_file.write_text(json.dumps(result), encoding="utf-8")
