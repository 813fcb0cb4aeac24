"""Reads the source model once for all workflows of a worker.

Every workflow loads the weights again, and Olive hashes their files again for its own cache. Here both are done once;
each workflow gets its own modules over the same tensors.

Runs inside the conversion worker, where the harness cannot be imported.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

IRRELEVANT = {"cache_dir": None, "token": None, "torch_dtype": "auto", "dtype": "auto", "trust_remote_code": False}
"""Options of `from_pretrained` that do not change what is loaded; with a value, only that value does not."""


class SharedSource:
    """Loaded models by the arguments of the call, as long as their tensors are unchanged."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[Any, int]] = {}
        self.hashes: dict[tuple[Any, ...], str] = {}
        self.times_read = 0

    def load(self, read: Callable[..., Any], name: Any, *rest: Any, **options: Any) -> Any:
        """The result of `read`: read from the disk, or a copy of an earlier result."""
        asked = {key: value for key, value in options.items() if not is_irrelevant(key, value)}
        key = repr((str(name), rest, sorted(asked.items())))
        if key not in self.kept or self.kept[key][1] != writes(self.kept[key][0]):
            self.times_read += 1
            model = read(name, *rest, **options)
            self.kept[key] = model, writes(model)
        return sharing_copy(self.kept[key][0])

    def hash(self, compute: Callable[..., str], file: Any, *rest: Any, **options: Any) -> str:
        """The result of `compute` for a file, computed again only after the file changes."""
        state = Path(file).stat()
        key = str(file), state.st_size, state.st_mtime_ns
        if key not in self.hashes:
            self.hashes[key] = compute(file, *rest, **options)
        return self.hashes[key]

    def forget(self) -> int:
        """Drop the models; returns how many were read from the disk."""
        self.kept.clear()
        return self.times_read

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Replace transformers' loading and Olive's hashing; undo it at the end."""
        from olive.model.config import model_config  # only in the toolchain
        from transformers import AutoModelForCausalLM

        read, compute = AutoModelForCausalLM.from_pretrained, model_config.hash_file
        kept = AutoModelForCausalLM.__dict__["from_pretrained"]
        AutoModelForCausalLM.from_pretrained = lambda *given, **options: self.load(read, *given, **options)
        model_config.hash_file = lambda *given, **options: self.hash(compute, *given, **options)
        try:
            yield
        finally:
            AutoModelForCausalLM.from_pretrained = kept
            model_config.hash_file = compute


def is_irrelevant(option: str, value: Any) -> bool:
    """Whether an option changes nothing about the tensors."""
    return option in IRRELEVANT and IRRELEVANT[option] in (None, value)


def tensors_of(model: Any) -> list[Any]:
    """Every parameter and buffer."""
    return list(chain(model.parameters(), model.buffers()))


def writes(model: Any) -> int:
    """Number of writes into the model's tensors."""
    return sum(tensor._version for tensor in tensors_of(model))


def sharing_copy(model: Any) -> Any:
    """The same model in new modules and parameters over the same memory."""
    return copy.deepcopy(model, {id(tensor): view_of(tensor) for tensor in tensors_of(model)})


def view_of(tensor: Any) -> Any:
    """Another tensor over the same memory; writing through it counts for both."""
    import torch  # only in the toolchain

    alike = tensor.detach()
    return torch.nn.Parameter(alike, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else alike
