"""Models of the Hugging Face hub: found in its cache on this machine, or downloaded into the cache."""

from __future__ import annotations

import re
from pathlib import Path

from harness.errors import ChildError, SourceError
from harness.source.weights import find_weights, has_weights
from harness.system.child import harness_module, run_job
from harness.toolchain.toolchain import quiet_environment
from harness.toolchain.workspace import Workspace

FILES = ("*.json", "*.jinja", "*.txt", "*.model", "model*.safetensors", "adapter_model.safetensors", "*.py")
"""Files of a repository that are downloaded; pickles never are."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(spec: str) -> bool:
    """Whether `spec` is shaped like `organisation/name`."""
    return _HUB_ID.fullmatch(spec) is not None


def find_snapshot(hub_id: str) -> Path | None:
    """The copy of a model on this machine; None if there is none, or if it may be incomplete.

    Other programs download only the files they need and leave no list of the repository's files. For such a copy
    `download` asks the hub, and uses the copy as it is if the hub cannot be reached.

    Raises:
        SourceError: the hub has no ids of this form.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, IncompleteSnapshotError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=list(FILES), local_files_only=True))
        is_listed = (folder.parent.parent / "trees" / f"{folder.name}.json").is_file()
    except IncompleteSnapshotError as error:  # a file is missing that may not be needed
        folder, is_listed = Path(error.snapshot_path), True
    except LocalEntryNotFoundError:
        return None
    except HFValidationError as error:
        raise SourceError(
            "there is no such folder, and this is not a valid hub id", where=hub_id, next_step="see its page for its id"
        ) from error
    return folder if is_listed and _is_whole(folder) else None


def _is_whole(folder: Path) -> bool:
    """Whether a folder has every file that the gate needs."""
    if (folder / "adapter_config.json").is_file() and not has_weights(folder):
        return (folder / "adapter_model.safetensors").is_file()
    try:
        find_weights(folder, allow_pickle=True)
    except SourceError:
        return False
    tokenizers = ("tokenizer.json", "tokenizer.model")
    return (folder / "config.json").is_file() and any((folder / name).is_file() for name in tokenizers)


def download(hub_id: str, workspace: Workspace) -> Path:
    """Download what is missing of a model; returns its folder in the hub's cache.

    Raises:
        SourceError: the hub cannot be reached, or refuses the model.
    """
    workspace.notify(f"downloading {hub_id}")
    try:
        result = run_job(
            harness_module("harness.source.hub_child"),
            {"id": hub_id, "files": list(FILES)},
            log=workspace.log(f"download-{hub_id.replace('/', '--')}"),
            timeout_s=24 * 3600,
            progress=workspace.progress,
            env=quiet_environment(offline=False),
        )
    except ChildError as error:
        raise not_downloaded(hub_id, error.what) from error
    return Path(result["folder"])


def not_downloaded(hub_id: str, reason: str = "no copy of it is on this machine") -> SourceError:
    """The error for a hub id that cannot be downloaded."""
    return SourceError(
        f"there is no such folder, and the hub id cannot be used: {reason}",
        where=hub_id,
        next_step="download it on a connected machine (`hf download ORGANISATION/NAME --local-dir FOLDER`), "
        "copy the folder here, and give the folder",
    )
