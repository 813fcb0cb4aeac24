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
    """Load the job's folder and ask its conversations: once for answers, or round by round until the time is over."""
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
    if job["has_answers"]:
        answered = [answer(one, count, 0) for one in job["conversations"]]
        times = [summary(seen_s) for _, seen_s in answered if len(seen_s) > 1]
        return {"times": times, "answers": [tokens for tokens, _ in answered], "version": og.__version__}
    started_s = time.perf_counter()
    for conversation in job["conversations"][: job["warmup"]]:
        answer(conversation, count, count)
        if time.perf_counter() - started_s > job["warmup_s"]:
            break
    started_s = time.perf_counter()
    times = []
    while not times or time.perf_counter() - started_s < job["least_s"]:
        times += [summary(answer(one, count, count)[1]) for one in job["conversations"]]
    return {"times": times, "version": og.__version__}


def summary(seen_s: list[float]) -> list[float]:
    """Of one request, in seconds since it was made: its end, its first token, the median gap between tokens."""
    gaps = [later - earlier for earlier, later in itertools.pairwise(seen_s)]
    return [seen_s[-1], seen_s[0], statistics.median(gaps)]


if __name__ == "__main__":
    job_file, result_file = map(Path, sys.argv[1:])
    try:
        result = main(json.loads(job_file.read_text(encoding="utf-8")))
    except (RuntimeError, OSError, ValueError, ImportError) as error:
        result = {"error": {"what": f"a side cannot be timed: {str(error).splitlines()[0]}", "where": None}}
    result_file.write_text(json.dumps(result), encoding="utf-8")
