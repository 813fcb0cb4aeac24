"""Merges a LoRA adapter into its base.

Runs as a plain script of the toolchain, where the harness cannot be imported:
`python merge_worker.py JOB_FILE RESULT_FILE`.
"""

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

PREFIX = "base_model.model."


class JobError(Exception):
    """The job cannot be done; its text is for the user."""


def merge(job: dict[str, Any]) -> None:
    """Write the base model with the adapter's changes in it; one weight file at a time."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    base, adapter, target = Path(job["base"]), Path(job["adapter"]), Path(job["target"])
    target.mkdir(parents=True)
    copy_settings(base, target)
    copy_settings(adapter, target, but="config.json")  # the base's is that of its weights
    settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    scale = scale_of(settings)
    changes = read_changes(load_file(adapter / "adapter_model.safetensors"), scale, settings["r"])
    for file in weight_files(base):
        with safe_open(file, "pt") as stream:
            tensors = {name: changed(name, stream.get_tensor(name), changes) for name in stream.keys()}  # noqa: SIM118
        save_file(tensors, target / file.name, metadata={"format": "pt"})
    if changes:
        raise JobError(f"the adapter changes {sorted(changes)[0]}, which its base model does not have")


def weight_files(folder: Path) -> list[Path]:
    """What transformers reads: one file, or else the shards of the index."""
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
    return [folder / name for name in sorted(set(index["weight_map"].values()))]


def copy_settings(folder: Path, target: Path, but: str = "") -> None:
    """Copy config, tokenizer and chat template, all but one; what is there already is replaced."""
    for file in folder.iterdir():
        is_setting = file.suffix in (".json", ".jinja", ".txt", ".model", ".py") and file.name != but
        if is_setting and not file.name.startswith("adapter_"):
            shutil.copyfile(file, target / file.name)


def scale_of(settings: dict[str, Any]) -> float:
    """How strongly the adapter counts."""
    rank = settings.get("r")
    if not isinstance(rank, int) or rank < 1 or not isinstance(settings.get("lora_alpha"), int | float):
        raise JobError(f"the adapter has rank {rank} and lora_alpha {settings.get('lora_alpha')}, which is no LoRA")
    return float(settings["lora_alpha"] / (math.sqrt(rank) if settings.get("use_rslora") else rank))


def read_changes(tensors: dict[str, Any], scale: float, rank: int) -> dict[str, Any]:
    """For each changed tensor of the base, a function from the old value to the new one."""
    changes: dict[str, Any] = {}
    for name, tensor in tensors.items():
        plain = name.removeprefix(PREFIX)
        if plain.endswith(".lora_A.weight"):
            module = plain.removesuffix(".lora_A.weight")
            up = tensors.get(name.replace(".lora_A.", ".lora_B."))
            if up is None:
                raise JobError(f"the adapter has {name} and no lora_B to it")
            if not tensor.shape[0] == up.shape[1] == rank:
                raise JobError(f"the adapter says rank {rank}, and its {name} has {tensor.shape[0]} of {up.shape[1]}")
            changes[f"{module}.weight"] = (tensor, up, scale)
        elif plain.endswith(".lora_B.weight"):
            if name.replace(".lora_B.", ".lora_A.") not in tensors:
                raise JobError(f"the adapter has {name} and no lora_A to it")
        elif ".lora_" in plain:
            raise JobError(f"the adapter's {name} cannot be merged here; merge it with peft")
        else:
            changes[plain.replace(".modules_to_save.default", "").replace(".base_layer.", ".")] = tensor
    return changes


def changed(name: str, tensor: Any, changes: dict[str, Any]) -> Any:
    """The tensor with its change, which is used up by that."""
    change = changes.pop(name, None)
    if change is None:
        return tensor
    shape = (change[1].shape[0], change[0].shape[1]) if isinstance(change, tuple) else tuple(change.shape)
    if tuple(tensor.shape) != shape:
        raise JobError(
            f"the adapter was trained on another base: {name} is {list(tensor.shape)}, its change {list(shape)}"
        )
    if not isinstance(change, tuple):
        return change.to(tensor.dtype).contiguous()
    down, up, scale = change
    return (tensor.float() + scale * (up.float() @ down.float())).to(tensor.dtype).contiguous()


def main(job_file: str, result_file: str) -> None:
    """Do the job; what stands in its way is a result too."""
    result: dict[str, Any] = {}
    try:
        merge(json.loads(Path(job_file).read_text(encoding="utf-8")))
    except JobError as error:
        result = {"error": {"what": str(error), "where": None, "next_step": None}}
    Path(result_file).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
