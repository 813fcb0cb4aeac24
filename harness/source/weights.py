"""Reads headers of safetensors files and looks for NaN in the weights, without torch."""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import SourceError

_MAX_HEADER_BYTES = 100_000_000
_COPY_AGAIN = "copy or download this file again"
_WHOLE_MODELS = ("model*.safetensors", "model.safetensors.index.json", "pytorch_model*.bin")
_PICKLED_PATTERNS = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_PICKLES_THAT_ARE_NOT_WEIGHTS = {"training_args.bin", "optimizer.pt", "scheduler.pt", "optimizer.bin"}

_BYTES_OF_TYPE = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4, "I8": 1}
_EXPONENTS = {"F32": 0x7F800000, "F16": 0x7C00, "BF16": 0x7F80}
"""Exponent bits; all of them are set in NaN and infinity only."""

_PIECE = 1 << 24
"""Weights that are checked at a time, to bound memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The weight files of a model, and the shapes of the tensors in them."""

    files: tuple[Path, ...]
    """Every file that holds weights, and the index where there are shards."""

    shapes: Mapping[str, tuple[int, ...]]
    """Shape of every tensor; empty for pickled weights, which are not opened."""

    size_bytes: int
    """Size of the weight files together."""

    @property
    def parameter_count(self) -> int | None:
        """Number of weights stored; None for pickled ones."""
        return sum(math.prod(shape) for shape in self.shapes.values()) or None

    @property
    def input_widths(self) -> tuple[int, ...]:
        """The distinct input sizes of the matrices, sorted; quantisation groups must divide them."""
        return tuple(
            sorted({shape[1] for name, shape in self.shapes.items() if len(shape) == 2 and name.endswith(".weight")})
        )


def has_weights(folder: Path) -> bool:
    """Whether a folder holds weights of a whole model, complete or not, beside whatever else."""
    return any(next(folder.glob(pattern), None) for pattern in _WHOLE_MODELS)


def find_weights(folder: Path, *, allow_pickle: bool = False) -> Weights:
    """The complete weights of a folder in Hugging Face's layout.

    Raises:
        SourceError: no weights, a shard or tensor missing, a file cut short, or pickled weights
            that were not allowed.
    """
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    if single.is_file():  # transformers prefers it if both exist
        return Weights(files=(single,), shapes=read_shapes(single), size_bytes=single.stat().st_size)
    if index.is_file():
        return _sharded(folder, index)
    return _pickled(folder, allow_pickle)


def read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Tensor shapes of a safetensors file whose length agrees with its header."""
    header, data_start = _read_header(file)
    shapes, places = {}, {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            shapes[name] = tuple(int(size) for size in entry["shape"])
            places[name] = (int(entry["data_offsets"][0]), int(entry["data_offsets"][1]))
            _check_length(file, name, math.prod(shapes[name]), str(entry["dtype"]), places[name])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise _damaged(file, f"its entry for {name} is malformed") from error
    end = _end_of(file, places)
    size_bytes = file.stat().st_size
    if size_bytes < data_start + end:
        raise _damaged(file, f"it has {size_bytes} bytes where its header describes {data_start + end}")
    if not shapes:
        raise _damaged(file, "it holds no tensor")
    return shapes


def _check_length(file: Path, name: str, count: int, kind: str, place: tuple[int, int]) -> None:
    """Raise if a tensor has a wrong number of bytes; unknown types are left to safetensors."""
    length = place[1] - place[0]
    if kind in _BYTES_OF_TYPE and length != count * _BYTES_OF_TYPE[kind]:
        raise _damaged(file, f"its header says {name} is {count} x {kind}, and gives it {length} bytes")


def _end_of(file: Path, places: Mapping[str, tuple[int, int]]) -> int:
    """End of the last tensor; raise if there is a gap between two."""
    end = 0
    for name, (start, stop) in sorted(places.items(), key=lambda item: item[1]):
        if start != end:
            raise _damaged(file, f"its header places {name} at {start}, where {end} is next")
        end = stop
    return end


def stored_types(weights: Weights) -> Counter[str]:
    """Number of weights by stored type, in safetensors' names; empty for pickled weights."""
    counts: Counter[str] = Counter()
    for file in weights.files:
        if file.suffix == ".safetensors":
            header, _ = _read_header(file)
            for name, entry in header.items():
                if name != "__metadata__":
                    counts[entry["dtype"]] += math.prod(entry["shape"])
    return counts


def require_finite(weights: Weights) -> None:
    """Raise if the weights hold NaN or infinity, which a quantiser may turn into numbers.

    Raises:
        SourceError: names the first such tensor.
    """
    for file in weights.files:
        if file.suffix == ".safetensors":
            _require_finite(file)


def _require_finite(file: Path) -> None:
    header, data_start = _read_header(file)
    for name, entry in header.items():
        exponent = _EXPONENTS.get(entry.get("dtype", ""))
        if exponent is None:
            continue
        start, stop = entry["data_offsets"]
        kind = np.dtype("<u4") if entry["dtype"] == "F32" else np.dtype("<u2")
        count = (stop - start) // kind.itemsize
        if not count:
            continue
        values = np.memmap(file, kind, "r", offset=data_start + start, shape=(count,))
        for at in range(0, count, _PIECE):
            if np.any(values[at : at + _PIECE] & exponent == exponent):
                raise SourceError(
                    f"{name} holds NaN or infinity",
                    where=str(file),
                    next_step="the training diverged or overflowed in half precision: take an earlier checkpoint, "
                    "or save the model in float32",
                )


def _read_header(file: Path) -> tuple[dict[str, Any], int]:
    with file.open("rb") as stream:
        prefix = stream.read(8)
        if prefix.startswith(b"version "):
            raise SourceError(
                "the weights are a Git LFS pointer, not the file itself",
                where=str(file),
                next_step="run git lfs pull",
            )
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 2 <= length <= _MAX_HEADER_BYTES:
            raise _damaged(file, "it has no safetensors header")
        raw = stream.read(length)
    try:
        header = json.loads(raw)
    except ValueError as error:
        raise _damaged(file, "its header is cut off or unreadable") from error
    if not isinstance(header, dict):
        raise _damaged(file, "its header is not a JSON object")
    return header, 8 + length


def _damaged(file: Path, reason: str) -> SourceError:
    return SourceError(f"the weight file is damaged: {reason}", where=str(file), next_step=_COPY_AGAIN)


def _sharded(folder: Path, index: Path) -> Weights:
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        weight_map = content["weight_map"]
        shard_names = sorted(set(weight_map.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError("the index of the weights is unreadable", where=str(index), next_step=_COPY_AGAIN) from error
    if "metadata" not in content:
        raise SourceError(
            "the index of the weights has no `metadata`, without which transformers does not read it",
            where=str(index),
            next_step='save the model again, or put "metadata": {} into that file',
        )
    shapes: dict[str, tuple[int, ...]] = {}
    files = [index]
    for name in shard_names:
        shard = folder / name
        if Path(name).name != name or not shard.is_file():
            raise SourceError(
                f"the weights are incomplete: {name} of {len(shard_names)} shards is missing",
                where=str(folder),
                next_step="copy or download the missing shard",
            )
        found = read_shapes(shard)
        missing = [tensor for tensor, place in weight_map.items() if place == name and tensor not in found]
        if missing:
            raise SourceError(
                f"the index places {missing[0]} in {name}, which does not hold it ({len(missing)} such tensors)",
                where=str(index),
                next_step="save the model again",
            )
        shapes.update(found)
        files.append(shard)
    size_bytes = sum(file.stat().st_size for file in files[1:])
    return Weights(files=tuple(files), shapes=shapes, size_bytes=size_bytes)


def _pickled(folder: Path, allow_pickle: bool) -> Weights:
    found = sorted(
        file
        for pattern in _PICKLED_PATTERNS
        for file in folder.glob(pattern)
        if file.name not in _PICKLES_THAT_ARE_NOT_WEIGHTS
    )
    if not found:
        others = [file.name for file in (*folder.glob("*.gguf"), *folder.glob("*.safetensors"))]
        seen = f" (there is {others[0]}, which is not read)" if others else ""
        raise SourceError(
            f"the model has no weights{seen}",
            where=str(folder),
            next_step="put model.safetensors there: model.save_pretrained(folder) writes it",
        )
    if not allow_pickle:
        raise SourceError(
            "the weights are pickled, and opening a pickle runs whatever code it holds",
            where=str(found[0]),
            next_step="save the model as safetensors, or allow pickles if you trust their author",
        )
    index = folder / "pytorch_model.bin.index.json"
    files = (*found, index) if index.is_file() else tuple(found)
    return Weights(files=files, shapes={}, size_bytes=sum(file.stat().st_size for file in found))
