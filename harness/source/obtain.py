"""From what the user named to a whole model on this disk: hub ids are downloaded, LoRA adapters merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.errors import ChildError, SourceError
from harness.source.hub import download
from harness.source.source import Source, is_adapter, locate, named_folder, read_json, resolve_source
from harness.source.weights import read_shapes
from harness.system.child import run_job
from harness.system.hashing import digest_files, digest_of
from harness.system.store import build_once
from harness.toolchain.toolchain import quiet_environment, worker
from harness.toolchain.workspace import Workspace

WORKER = worker("merge_worker")
_OF_ADAPTERS = (".json", ".jinja", ".txt", ".model", ".py", ".safetensors")
"""What a merge takes from an adapter's folder."""

_UNSUPPORTED = (
    "use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "lora_bias", "target_parameters",
    "layer_replication", "alora_invocation_tokens", "use_qalora", "corda_config", "eva_config", "loftq_config",
)  # fmt: skip
_HARMLESS_BEGINNINGS = ("true", "false", "none", "gaussian", "orthogonal", "eva")
"""Of `init_lora_weights`: what training starts from without another base (peft's pissa, olora, corda and loftq do)."""


def obtain_source(
    spec: str,
    workspace: Workspace,
    *,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    adapter: str | None = None,
) -> Source:
    """`resolve_source`, after a download (hub id) or a merge (LoRA adapter) where one is needed.

    The toolchain is made only for a merge. With `adapter`, `spec` is the base that it is merged into; an adapter
    given as `spec` names its base itself.

    Raises:
        SourceError: the model cannot be had or cannot be used.
    """

    def resolve(place: str) -> Source:
        return resolve_source(place, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)

    folder = _local(adapter or spec, workspace)
    if adapter is not None and not (folder / "adapter_config.json").is_file():
        raise SourceError("this is no LoRA adapter: it has no adapter_config.json", where=str(folder))
    if adapter is None and not is_adapter(folder):
        return replace(resolve(str(folder)), spec=spec)
    named = _base_of(folder, is_named=adapter is None)
    source = obtain_source(named or spec, workspace, trust_remote_code=trust_remote_code)
    merged = resolve(str(_merged(folder, source, workspace)))
    return replace(merged, spec=spec if adapter is None else f"{spec} + {adapter}")


def obtain_base(
    spec: str,
    workspace: Workspace,
    *,
    base: str | None,
    adapter: str | None,
    trust_remote_code: bool = False,
) -> Source | None:
    """The model that `obtain_source`'s was tuned from: `base`, or what the LoRA adapter is merged into.

    None where neither is known.

    Raises:
        SourceError: that model cannot be had or cannot be used.
    """
    known = base or (spec if adapter else None)
    if known is None:
        folder = _local(spec, workspace)
        known = _base_of(folder, is_named=True) if is_adapter(folder) else None
    if known is None:
        return None
    return obtain_source(known, workspace, trust_remote_code=trust_remote_code)


def _local(spec: str, workspace: Workspace) -> Path:
    return locate(spec) or download(spec, workspace)


def _base_of(adapter: Path, *, is_named: bool) -> str | None:
    """The base that the adapter names; None where the user names it instead."""
    settings = read_json(adapter / "adapter_config.json")
    where = str(adapter / "adapter_config.json")
    if settings.get("peft_type") != "LORA":
        raise SourceError(
            f"the adapter is of type {settings.get('peft_type')}; only LoRA can be merged here", where=where
        )
    odd = [name for name in _UNSUPPORTED if settings.get(name)]
    if str(settings.get("init_lora_weights", True)).lower() not in _HARMLESS_BEGINNINGS:
        odd.append(f"init_lora_weights = {settings['init_lora_weights']!r}, which changes the base")
    if is_named and settings.get("revision") not in (None, "main"):
        odd.append(f"revision = {settings['revision']!r} of its base")
    if odd:
        raise SourceError(
            f"the adapter uses {', '.join(odd)}, which is not merged here",
            where=where,
            next_step="merge it with peft (merge_and_unload()), save that model, and give its folder",
        )
    if not is_named:
        return None
    base = settings.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise SourceError("the adapter does not name its base model", where=where)
    if named_folder(base).resolve() == adapter.resolve():
        raise SourceError(
            "the adapter names itself as its base model",
            where=where,
            next_step="name the base: slm-gate convert BASE --adapter ADAPTER",
        )
    beside = adapter / base
    return str(beside) if beside.is_dir() else base


def _merged(adapter: Path, base: Source, workspace: Workspace) -> Path:
    weights = adapter / "adapter_model.safetensors"
    if not weights.is_file():
        raise SourceError("the adapter has no adapter_model.safetensors", where=str(adapter))
    read_shapes(weights)
    own = [file for file in adapter.iterdir() if file.is_file() and file.suffix in _OF_ADAPTERS]
    key = digest_of(["merged-2", base.digest, digest_files(adapter, own)])[:32]
    folder = workspace.cache / "merged" / key

    def build(staging: Path) -> Mapping[str, Any]:
        workspace.notify(f"merging the adapter {adapter.name} into {base.path.name}")
        job = {"base": str(base.path), "adapter": str(adapter), "target": str(staging / "model")}
        try:
            result = run_job(
                workspace.toolchain().command(WORKER),
                job,
                log=workspace.log(f"merge-{key[:12]}"),
                timeout_s=workspace.timeout_s,
                progress=workspace.progress,
                env=quiet_environment(),
            )
        except ChildError as error:
            raise SourceError(error.what, where=error.where, next_step=error.next_step) from error
        base.require_unchanged()
        return result

    build_once(folder, build)
    return folder / "model"
