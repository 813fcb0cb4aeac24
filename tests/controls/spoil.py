"""Opens the files of models so that a test can change one thing: weights, graph, tokenizer, settings, template."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

Array = npt.NDArray[Any]
Plant = Callable[[Path], None]
"""Changes a copy of a folder."""

_KINDS = {"F16": np.float16, "F32": np.float32, "BF16": np.uint16}


def change_json(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite a JSON file; one that is not there begins empty."""
    content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    change(content)
    file.unlink(missing_ok=True)  # a copy may be a hard link
    file.write_text(json.dumps(content), encoding="utf-8")


def updated(name: str, **entries: Any) -> Plant:
    """Entries of a JSON file; None takes one away."""

    def plant(folder: Path) -> None:
        def change(content: dict[str, Any]) -> None:
            content.update(entries)
            for key in [key for key, value in entries.items() if value is None]:
                del content[key]

        change_json(folder / name, change)

    return plant


def replaced(name: str, old: str, new: str) -> Plant:
    """Text in a file, which must be there."""

    def plant(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text, (name, old)
        (folder / name).unlink()
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")

    return plant


def read_weights(file: Path) -> dict[str, Array]:
    """Tensors of a safetensors file; bfloat16 as whole numbers."""
    content = file.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        first, last = (end + offset for offset in entry["data_offsets"])
        found[name] = np.frombuffer(content[first:last], _KINDS[entry["dtype"]]).reshape(entry["shape"]).copy()
    return found


def write_weights(file: Path, tensors: dict[str, Array]) -> None:
    """What `read_weights` reads."""
    names = {np.dtype(kind): name for name, kind in _KINDS.items()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + tensor.nbytes
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    content = b"".join(np.ascontiguousarray(tensor).tobytes() for tensor in tensors.values())
    file.write_bytes(len(raw).to_bytes(8, "little") + raw + content)


def weights(change: Callable[[dict[str, Array]], None]) -> Plant:
    """Tensors of a source model."""

    def plant(folder: Path) -> None:
        tensors = read_weights(folder / "model.safetensors")
        change(tensors)
        write_weights(folder / "model.safetensors", tensors)

    return plant


def stored(change: Callable[[dict[str, Array]], None]) -> Plant:
    """Tensors of a converted model, by the names of its graph; those that are changed, added or gone are rewritten."""

    def plant(folder: Path) -> None:
        model = onnx.load(str(folder / "model.onnx"))
        tensors = {one.name: numpy_helper.to_array(one).copy() for one in model.graph.initializer}
        change(tensors)
        del model.graph.initializer[:]
        model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())
        save(model, folder)

    return plant


def save(model: onnx.ModelProto, folder: Path, *, is_one_file: bool = False, has_file_each: bool = False) -> None:
    """Write a graph with its weights behind it, in it, or in a file for each."""
    for file in folder.glob("model.onnx*"):
        file.unlink()
    options = {"save_as_external_data": not is_one_file, "all_tensors_to_one_file": not has_file_each}
    location = None if is_one_file or has_file_each else "model.onnx.data"
    onnx.save(model, str(folder / "model.onnx"), location=location, **options)


def copy_of(folder: Path, target: Path, *plants: Plant) -> Path:
    """A copy of a folder, changed."""
    shutil.copytree(folder, target)
    for plant in plants:
        plant(target)
    return target
