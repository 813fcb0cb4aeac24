"""Merges a LoRA adapter into its base: once for each pair, kept in the cache as a model folder of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import ChildError, SourceError
from harness.prompts.template_files import find_templates
from harness.source.adapter import PICKLED, WEIGHTS, Adapter
from harness.source.merge_plan import BaseModel, plan_merge
from harness.source.source import TOKENIZER_FILES, Source, read_json
from harness.source.weights import find_weights, read_shapes
from harness.system.child import run_job
from harness.system.hashing import digest_files, digest_of
from harness.system.store import build_once
from harness.toolchain.toolchain import quiet_environment, worker
from harness.toolchain.workspace import Workspace

WORKER = worker("merge_worker")
FORMAT = "merged-3"
"""Counts up when what was merged earlier must no longer be used."""

_OF_ADAPTERS = ("generation_config.json", "*.py", *TOKENIZER_FILES)
"""What is taken from an adapter's folder beside its weights."""

_OF_BASES = (".json", ".jinja", ".txt", ".model", ".py")
_INDEX = "model.safetensors.index.json"
_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
_SPECIAL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
"""Settings of a config beside an adapter that count: trainers set them to what they trained with."""


def merged_folder(
    adapter: Adapter, base: Source, workspace: Workspace, *, allow_pickle: bool = False
) -> tuple[Path, tuple[str, ...]]:
    """(folder of the merged model, remarks about the merge); the toolchain is made only where there is none yet.

    Raises:
        SourceError: the adapter has no usable weights, or does not fit its base.
    """
    weights = _weights(adapter, workspace, allow_pickle=allow_pickle)
    stored = find_weights(base.path)
    plan = plan_merge(adapter, read_shapes(weights), _base_model(base, stored.shapes))
    own = [*_of_adapter(adapter.folder), adapter.settings_file]
    key = digest_of([FORMAT, base.digest, digest_files(adapter.folder, own), digest_files(weights.parent, [weights])])
    folder = workspace.cache / "merged" / key[:32]

    def build(staging: Path) -> Mapping[str, Any]:
        workspace.notify(f"merging the adapter {adapter.folder.name} into {base.path.name}")
        model = staging / "model"
        files = [str(file) for file in stored.files if file.suffix == ".safetensors"]
        job = {"files": files, "adapter": str(weights), "target": str(model), "plan": plan.as_dict()}
        found = _run(job, f"merge-{key[:12]}", workspace)
        _write_settings(adapter.folder, base.path, model, plan.vocabulary_size, is_untied=found["is_untied"])
        base.require_unchanged()
        return {"remarks": list(plan.remarks)}

    manifest, _ = build_once(folder, build)
    return folder / "model", tuple(manifest["remarks"])


def _run(job: Mapping[str, Any], log: str, workspace: Workspace) -> dict[str, Any]:
    try:
        return run_job(
            workspace.toolchain().command(WORKER),
            job,
            log=workspace.log(log),
            timeout_s=workspace.timeout_s,
            progress=workspace.progress,
            env=quiet_environment(),
        )
    except ChildError as error:
        raise SourceError(error.what, where=error.where, next_step=error.next_step) from error


def _weights(adapter: Adapter, workspace: Workspace, *, allow_pickle: bool) -> Path:
    """The adapter's safetensors file; a pickle is rewritten as one where it is allowed."""
    file, pickled = adapter.folder / WEIGHTS, adapter.folder / PICKLED
    if file.is_file():
        return file
    if not pickled.is_file():
        raise adapter.refused(f"the adapter has no {WEIGHTS}", "save it with peft: model.save_pretrained(folder)")
    if not allow_pickle:
        raise SourceError(
            f"the adapter's weights are pickled ({PICKLED}), and opening a pickle runs whatever code it holds",
            where=str(pickled),
            next_step="load it where you trust it, and save it with a newer peft: model.save_pretrained(folder)",
        )
    key = digest_files(adapter.folder, [pickled])[:32]

    def rewrite(staging: Path) -> Mapping[str, Any]:
        return _run({"pickled": str(pickled), "target": str(staging / WEIGHTS)}, f"unpickle-{key[:12]}", workspace)

    folder = workspace.cache / "merged" / f"unpickled-{key}"
    build_once(folder, rewrite)
    return folder / WEIGHTS


def _base_model(base: Source, shapes: Mapping[str, tuple[int, ...]]) -> BaseModel:
    """Configs that say nothing of ties mean one where no head is stored: Gemma's are written so."""
    stated = read_json(base.path / "config.json").get("tie_word_embeddings")
    return BaseModel(
        shapes=shapes,
        vocabulary_size=base.vocabulary_size,
        is_tied=stated is True or (stated is None and "lm_head.weight" not in shapes),
        model_type=base.model_type,
    )


def _of_adapter(folder: Path) -> list[Path]:
    found = {file for pattern in _OF_ADAPTERS for file in folder.glob(pattern) if file.is_file()}
    config = folder / "config.json"
    return sorted(found | ({config} if config.is_file() else set()))


def _write_settings(adapter: Path, base: Path, target: Path, vocabulary_size: int, *, is_untied: bool) -> None:
    """Put config, tokenizer and chat template beside merged weights.

    The config is the base's, with what the merge changed. An adapter that brings a tokenizer or a chat template was
    trained with them: nothing of the base's stays beside them that could outrank them.
    """
    own = [file for file in _of_adapter(adapter) if file.name != "config.json"]
    for file in _of_base(base, {file.name for file in own}):
        shutil.copyfile(file, target / file.name)
    _write_config(adapter, base, target, vocabulary_size, is_untied=is_untied)
    own_template, base_template = find_templates(adapter), find_templates(base)
    if own_template:
        _drop_templates(target)
    for file in own:
        shutil.copyfile(file, target / file.name)
    if base_template and not find_templates(target):  # it stood in a file that was replaced
        (target / "chat_template.jinja").write_bytes(base_template[0].text.encode())


def _of_base(base: Path, replaced: set[str]) -> Iterator[Path]:
    """The base's small files, without its tokenizer where the adapter brings a vocabulary of its own."""
    tokenizer = {file.name for pattern in TOKENIZER_FILES for file in base.glob(pattern)}
    kept = {"tokenizer_config.json", *(name for name in tokenizer if name.startswith("chat_template"))}
    dropped = tokenizer - kept if replaced & set(_VOCABULARIES) else set()
    for file in base.iterdir():
        is_setting = file.suffix in _OF_BASES and file.is_file()
        if is_setting and file.name not in dropped | {_INDEX} and not file.name.startswith("adapter_"):
            yield file


def _write_config(adapter: Path, base: Path, target: Path, vocabulary_size: int, *, is_untied: bool) -> None:
    config = read_json(base / "config.json")
    beside = read_json(adapter / "config.json") if (adapter / "config.json").is_file() else {}
    config |= {name: beside[name] for name in _SPECIAL_IDS if beside.get(name) is not None}
    config["vocab_size"] = vocabulary_size
    if is_untied:
        config["tie_word_embeddings"] = False
    (target / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def _drop_templates(folder: Path) -> None:
    for file in folder.glob("chat_template*"):
        file.unlink()
    file = folder / "tokenizer_config.json"
    if file.is_file():
        settings = {name: value for name, value in read_json(file).items() if name != "chat_template"}
        file.write_text(json.dumps(settings, indent=2, ensure_ascii=False), encoding="utf-8")
