"""Equal work for the clock: a batch of one prompt, or a prompt behind a cache that is filled already."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from harness.runtime.session import TokenTimeline


def time_batch(
    encode: Callable[[], Sequence[int]],
    generator_for: Callable[[int], Any],
    streams: Sequence[Any],
    *,
    new_tokens: int,
) -> TokenTimeline:
    """Answer as many equal prompts together as there are `streams`; a token's time is that of the whole batch's step.

    Args:
        encode: renders and tokenises the prompt; called once for each, under the clock.
        generator_for: the runtime's generator for a prompt of so many tokens.
        streams: turn tokens into text, one a request.
        new_tokens: for each request.

    Raises:
        RuntimeError: the runtime failed.
    """
    start_s = time.perf_counter()
    prompts = [encode() for _ in streams]
    generator = generator_for(len(prompts[0]))
    generator.append_tokens(np.asarray(prompts, dtype=np.int32))
    token_s = _generate(generator, streams, new_tokens)
    return TokenTimeline(start_s=start_s, token_s=token_s, prompt_tokens=len(prompts[0]))


def time_at_depth(
    encode: Callable[[], Sequence[int]], generator: Any, filler: Sequence[int], stream: Any, *, new_tokens: int
) -> TokenTimeline:
    """Answer one prompt behind `filler` tokens that the clock does not see, as a later turn of a conversation is.

    Raises:
        RuntimeError: the runtime failed.
    """
    generator.append_tokens(np.asarray(filler, dtype=np.int32))
    start_s = time.perf_counter()
    prompt = encode()
    generator.append_tokens(np.asarray(prompt, dtype=np.int32))
    token_s = _generate(generator, [stream], new_tokens)
    return TokenTimeline(start_s=start_s, token_s=token_s, prompt_tokens=len(prompt))


def _generate(generator: Any, streams: Sequence[Any], count: int) -> tuple[float, ...]:
    token_s = []
    for _ in range(count):
        generator.generate_next_token()
        for stream, token in zip(streams, generator.get_next_tokens(), strict=True):
            stream.decode(int(token))
        token_s.append(time.perf_counter())
    return tuple(token_s)
