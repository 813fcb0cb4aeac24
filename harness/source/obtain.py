"""From what the user named to a whole model on this disk: hub ids are downloaded, LoRA adapters merged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.source.adapter import read_adapter
from harness.source.hub import download
from harness.source.merge import merged_folder
from harness.source.source import Source, is_adapter, locate, must_be_obtained, resolve_source
from harness.toolchain.workspace import Workspace


def local_source(spec: str, *, allow_pickle: bool = False, trust_remote_code: bool = False) -> Source | None:
    """A model that is on this disk as a whole; None while it must be downloaded (a hub id) or merged (an adapter).

    Raises:
        SourceError: the model cannot be used.
    """
    if must_be_obtained(spec):
        return None
    return resolve_source(spec, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)


def obtain_source(
    spec: str,
    workspace: Workspace,
    *,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    adapter: str | None = None,
    is_base: bool = False,
    within: tuple[Path, ...] = (),
) -> Source:
    """`resolve_source`, after a download (hub id) or a merge (LoRA adapter) where one is needed.

    The toolchain is made only for a merge. With `adapter`, `spec` is the base that it is merged into; an adapter
    given as `spec` names its base itself. `is_base` is `resolve_source`'s; `within` are adapters that go into what is
    obtained.

    Raises:
        SourceError: the model cannot be had or cannot be used.
    """

    def resolve(place: Path) -> Source:
        return resolve_source(
            str(place), allow_pickle=allow_pickle, trust_remote_code=trust_remote_code, is_base=is_base
        )

    folder = _local(adapter or spec, workspace)
    if adapter is None and not is_adapter(folder):
        return replace(resolve(folder), spec=spec)
    found = read_adapter(folder)
    if folder in within:
        raise found.refused("the adapter is its own base, by way of the base that it names")
    named = found.base_spec() if adapter is None else spec
    base = obtain_source(named, workspace, trust_remote_code=trust_remote_code, is_base=True, within=(*within, folder))
    place, remarks = merged_folder(found, base, workspace, allow_pickle=allow_pickle)
    merged = resolve(place)
    spec = spec if adapter is None else f"{spec} + {adapter}"
    return replace(merged, spec=spec, remarks=(*remarks, *merged.remarks))


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
        known = read_adapter(folder).base_spec() if is_adapter(folder) else None
    if known is None:
        return None
    return obtain_source(known, workspace, trust_remote_code=trust_remote_code, is_base=True)


def _local(spec: str, workspace: Workspace) -> Path:
    return locate(spec) or download(spec, workspace)
