"""Answers through onnxruntime-genai in this process, as Foundry Local serves; the clock of TTFT is read here."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from harness.config.target import CPU, Target
from harness.errors import InvalidPromptError, SessionError, first_line
from harness.runtime.session import Answer, Message, TokenTimeline
from harness.runtime.timed import time_at_depth, time_batch
from harness.runtime.verified import CHUNK_TOKENS

_NO_PENALTY: Final = 1.0
_IN_ONE_CHUNK: Final = 0
"""Search options where logits are read: a penalty changes them, and a prefill in chunks leaves the last one's."""

_SMALL_LENGTH = 32
"""Tokens that a generator is made for which is not to answer."""


def report_leaks_at_exit() -> None:
    """Have onnxruntime-genai name, when the process ends, its objects that were never freed.

    Since 0.14 it does so only where its log is on.
    """
    import onnxruntime_genai as og

    og.set_log_options(enabled=True, warning=True)


def open_model(folder: Path, target: Target, overlay: str | None = None, *, threads: int | None = None) -> Any:
    """An `onnxruntime_genai.Model` of a folder, on its target; every model is loaded here.

    The providers in genai_config.json are ignored: they may name the accelerator that the graph was built for. The JSON
    text `overlay` replaces what it names of that file; `threads` are those that compute, the runtime's choice if None.

    Raises:
        RuntimeError, ValueError, OSError: onnxruntime-genai cannot load the folder on the target.
    """
    import onnxruntime_genai as og

    config = og.Config(str(folder))
    if overlay is not None:
        config.overlay(overlay)
    config.clear_providers()
    for provider in target.session_providers:
        config.append_provider(provider)
    if threads is not None:
        options = {"session_options": {"intra_op_num_threads": threads}}
        config.overlay(json.dumps({"model": {"decoder": options}}))
    return og.Model(config)


class GenaiSession:
    """A `ScoringSession` over one artifact folder.

    Raises:
        SessionError: onnxruntime-genai cannot load the folder.
    """

    def __init__(
        self,
        path: Path,
        *,
        target: Target = CPU,
        name: str | None = None,
        overlay: str | None = None,
        threads: int | None = None,
    ) -> None:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime_genai as og

        self.name = name or f"{path.name} in onnxruntime-genai"
        self._og: Any = og
        self._path = path
        self._open = partial(open_model, path, target, overlay)
        self._threads = threads
        self._model: Any = None
        self._tokenizer: Any = None
        self.reload()
        with self._loading():
            config_file = json.loads(Path(path, "genai_config.json").read_text(encoding="utf-8"))
            settings = config_file["model"]
        self.context_length = int(settings["context_length"])
        self.end_ids = _as_ids(settings.get("eos_token_id"))
        self.is_steppable = _is_steppable(config_file)

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt text by the artifact's own chat template.

        Raises `InvalidPromptError` for content with a NUL: onnxruntime-genai passes it to C, which cuts the prompt
        there, generation prompt included.
        """
        for message in messages:
            if "\0" in message.get("content", ""):
                raise InvalidPromptError("the conversation contains a NUL character", where=self.name)
        try:
            return str(self._tokenizer.apply_chat_template(json.dumps(list(messages)), add_generation_prompt=True))
        except (RuntimeError, UnicodeError) as error:
            raise InvalidPromptError(
                f"the chat template refused the conversation: {first_line(error)}", where=self.name
            ) from error

    def encode(self, text: str) -> list[int]:
        """Token ids, control tokens in the text as single ids."""
        ids: list[int] = self._encoded(text).tolist()
        return ids

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of generated tokens."""
        stream = self._tokenizer.create_stream()  # `decode` drops what follows an invalid byte
        return "".join(stream.decode(token) for token in token_ids)

    def answer(self, messages: Sequence[Message], *, max_new_tokens: int, min_new_tokens: int = 0) -> Answer:
        """Answer greedily; one `Generator` for this request, given back at its end."""
        start_s = time.perf_counter()
        prompt = self._encoded(self.render(messages))
        return self._generate(prompt, start_s, max_new_tokens, min_new_tokens)

    def timed(
        self, messages: Sequence[Message], *, new_tokens: int, batch: int = 1, depth_tokens: int = 0
    ) -> TokenTimeline:
        """Times of equal work: exactly `new_tokens` tokens for each of `batch` equal prompts."""
        if batch == 1 and depth_tokens == 0:
            return self.answer(messages, max_new_tokens=new_tokens, min_new_tokens=new_tokens).timeline

        def encode() -> list[int]:
            return self.encode(self.render(messages))

        def generator_for(prompt: int) -> Any:
            total = depth_tokens + prompt + new_tokens
            return self._generator(depth_tokens + prompt, total + 1, min_length=total, batch=batch)

        streams = [self._tokenizer.create_stream() for _ in range(batch)]
        with _Told(self.name):
            if batch > 1:
                return time_batch(encode, generator_for, streams, new_tokens=new_tokens)
            prompt = encode()
            filler = (prompt * (depth_tokens // len(prompt) + 1))[:depth_tokens]
            return time_at_depth(encode, generator_for(len(prompt)), filler, *streams, new_tokens=new_tokens)

    def logits(self, token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Logits of every position in one prefill, shape [len(token_ids), vocabulary], float32."""
        generator = self._generator(len(token_ids), len(token_ids) + 1, chunk_size=_IN_ONE_CHUNK)
        with _Told(self.name):
            generator.append_tokens(np.asarray(token_ids, dtype=np.int32))
            return np.asarray(generator.get_output("logits")[0], dtype=np.float32)

    def continued(self, token_ids: Sequence[int], count: int) -> tuple[list[int], npt.NDArray[np.float32]]:
        """Answer greedily with exactly `count` tokens: these, and the logits that each was chosen from.

        Shape [count, vocabulary], float32; what must not be chosen (end-of-sequence) has the lowest number there is.
        """
        total = len(token_ids) + count
        generator = self._generator(
            len(token_ids), total + 1, min_length=total, repetition_penalty=_NO_PENALTY, chunk_size=_IN_ONE_CHUNK
        )
        tokens, rows = [], []
        with _Told(self.name):
            generator.append_tokens(np.asarray(token_ids, dtype=np.int32))
            for _ in range(count):
                generator.generate_next_token()
                tokens.append(int(generator.get_next_tokens()[0]))
                rows.append(np.array(generator.get_output("logits")[0, -1], dtype=np.float32))
        return tokens, np.stack(rows)

    def cursor(self, max_length: int) -> GenaiCursor:
        """A place to read and rewind tokens of this model; `max_length` bounds prompt and answer together."""
        params = self._og.GeneratorParams(self._model)
        limit = min(max_length, self.context_length)
        options = {"repetition_penalty": _NO_PENALTY, "chunk_size": _IN_ONE_CHUNK}
        params.set_search_options(do_sample=False, num_beams=1, max_length=limit, batch_size=1, **options)
        return GenaiCursor(lambda: self._og.Generator(self._model, params), self.name)

    def close(self) -> None:
        """Drop the model; onnxruntime-genai frees it with its last reference."""
        self._tokenizer = self._model = None

    def reload(self) -> None:
        """Drop the model and load it again."""
        self.close()
        with self._loading():
            self._model = self._open(threads=self._threads)
            self._tokenizer = self._og.Tokenizer(self._model)

    @contextmanager
    def _loading(self) -> Iterator[None]:
        """Tells what goes wrong as a `SessionError`."""
        try:
            yield
        except (RuntimeError, OSError, ValueError, KeyError) as error:
            raise SessionError(
                f"onnxruntime-genai {self._og.__version__} cannot load the model: {first_line(error)}",
                where=str(self._path),
                next_step="run `slm-gate inspect` on the folder; convert it again if its files are damaged",
            ) from error

    @contextmanager
    def computing_with(self, threads: int | None) -> Iterator[None]:
        """Compute with so many threads meanwhile, the runtime's choice if None; the model is loaded again for it.

        Times depend on it, logits and answers do not.
        """
        usual = self._threads
        self._compute_with(threads)
        try:
            yield
        finally:
            self._compute_with(usual)

    def _compute_with(self, threads: int | None) -> None:
        if threads != self._threads:
            self._threads = threads
            self.reload()

    def open_and_drop(self) -> None:
        """Begin a generator and give it back unused."""
        self._generator(1, min(self.context_length, _SMALL_LENGTH))

    def break_off(self, messages: Sequence[Message]) -> None:
        """Read a prompt, take one token of the answer, and drop the generator and its stream."""
        prompt = self._encoded(self.render(messages))
        generator = self._generator(len(prompt), min(self.context_length, len(prompt) + _SMALL_LENGTH))
        stream = self._tokenizer.create_stream()
        with _Told(self.name):
            generator.append_tokens(prompt)
            generator.generate_next_token()
            stream.decode(int(generator.get_next_tokens()[0]))

    def fail(self) -> None:
        """Give a generator more tokens than it was made for, which the runtime refuses.

        Raises:
            SessionError: it does not.
        """
        generator = self._generator(1, 2)
        try:
            generator.append_tokens(np.zeros(_SMALL_LENGTH, dtype=np.int32))
        except RuntimeError:
            return
        raise SessionError("onnxruntime-genai took more tokens than it was told to expect", where=self.name)

    def _encoded(self, text: str) -> npt.NDArray[np.int32]:
        """Token ids as the runtime takes them, shape [tokens]; a list of them would cost time to the first token."""
        try:
            return np.asarray(self._tokenizer.encode(text), dtype=np.int32)
        except (RuntimeError, UnicodeError) as error:
            raise InvalidPromptError(f"the tokenizer refused the text: {first_line(error)}", where=self.name) from error

    def _generate(
        self, prompt: npt.NDArray[np.int32], start_s: float, max_new_tokens: int, min_new_tokens: int
    ) -> Answer:
        limit = min(self.context_length, len(prompt) + max_new_tokens)
        generator = self._generator(len(prompt), limit, min_length=len(prompt) + min_new_tokens)
        stream = self._tokenizer.create_stream()  # `decode` drops what follows an invalid byte
        tokens: list[int] = []
        token_s: list[float] = []
        pieces: list[str] = []
        end_ids, clock = self.end_ids, time.perf_counter  # looked up once: a token of a small model takes 0.2 ms
        with _Told(self.name):
            generator.append_tokens(prompt)
            while not generator.is_done():
                generator.generate_next_token()
                token = int(generator.get_next_tokens()[0])
                tokens.append(token)
                if token not in end_ids:
                    pieces.append(stream.decode(token))
                token_s.append(clock())
        ended = bool(tokens) and tokens[-1] in self.end_ids
        return Answer(
            text="".join(pieces),
            token_ids=tuple(tokens[:-1] if ended else tokens),
            finish_reason="stop" if ended else "length",
            timeline=TokenTimeline(start_s=start_s, token_s=tuple(token_s), prompt_tokens=len(prompt)),
        )

    def _generator(
        self, prompt_tokens: int, max_length: int, *, min_length: int = 0, batch: int = 1, **options: float
    ) -> Any:
        if prompt_tokens == 0:
            raise InvalidPromptError("the prompt has no tokens", where=self.name)
        if prompt_tokens >= self.context_length:
            raise InvalidPromptError(
                f"the prompt has {prompt_tokens} tokens and the context {self.context_length}",
                where=self.name,
                next_step="shorten the prompt",
            )
        params = self._og.GeneratorParams(self._model)
        params.set_search_options(
            do_sample=False, num_beams=1, max_length=max_length, min_length=min_length, batch_size=batch, **options
        )
        return self._og.Generator(self._model, params)


class _Told:
    """Tells what the runtime says as a `SessionError`; a generator's context would cost time to the first token."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, RuntimeError):
            raise SessionError(f"generation failed: {first_line(error)}", where=self._name) from error


class GenaiCursor:
    """A `Cursor` over one onnxruntime-genai generator.

    Raises:
        SessionError: the runtime fails; a cursor that has failed is not used again.
    """

    def __init__(self, begin: Callable[[], Any], name: str) -> None:
        self._begin, self._name = begin, name
        self._generator = begin()
        self._token_ids: list[int] = []

    @property
    def token_ids(self) -> Sequence[int]:
        """The tokens so far."""
        return self._token_ids

    def append(self, token_ids: Sequence[int], *, keep: int) -> npt.NDArray[np.float32]:
        """Read further tokens in chunks; logits behind the last `keep` of them, shape [keep, vocabulary]."""
        kept: list[npt.NDArray[np.float32]] = []
        with _Told(self._name):
            for start in range(0, len(token_ids), CHUNK_TOKENS):
                chunk = list(token_ids[start : start + CHUNK_TOKENS])
                self._generator.append_tokens(np.asarray(chunk, dtype=np.int32))
                self._token_ids += chunk
                wanted = start + len(chunk) - (len(token_ids) - keep)
                if wanted > 0:
                    rows = self._generator.get_output("logits")[0, -min(wanted, len(chunk)) :]
                    kept.append(np.array(rows, dtype=np.float32))
        return kept[0] if len(kept) == 1 else np.concatenate(kept)

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens; logits are to be read only after the next `append`."""
        with _Told(self._name):
            if length == 0:
                self._generator = self._begin()  # some models cannot be rewound to nothing
            elif length < len(self._token_ids):
                self._generator.rewind_to(length)
        del self._token_ids[length:]

    def generate(self, count: int, end_ids: frozenset[int]) -> list[int]:
        """Up to `count` greedy tokens that follow, the first of `end_ids` included and last."""
        tokens: list[int] = []
        with _Told(self._name):
            while len(tokens) < count and not (tokens and tokens[-1] in end_ids) and not self._generator.is_done():
                self._generator.generate_next_token()
                tokens.append(int(self._generator.get_next_tokens()[0]))
        self._token_ids += tokens
        return tokens


def _is_steppable(config: Mapping[str, Any]) -> bool:
    """Whether the model's greedy answer is the argmax of its logits at every position, and its cache can be rewound.

    Penalties change the choice; a cache that slides with a window cannot be rewound once it is full.
    """
    search, decoder = config.get("search", {}), config["model"].get("decoder", {})
    has_penalty = search.get("repetition_penalty", 1.0) != 1.0 or search.get("no_repeat_ngram_size", 0)
    return not has_penalty and not search.get("min_length", 0) and "sliding_window" not in decoder


def _as_ids(eos: int | list[int] | None) -> frozenset[int]:
    if eos is None:
        return frozenset()
    return frozenset([eos] if isinstance(eos, int) else eos)
