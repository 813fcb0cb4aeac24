"""A folder of its own for a model that is to be registered, so that the artifact stays as its hash found it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.errors import DeployError
from harness.system.links import link_or_copy


def stage(artifact: Path, target: Path, finish: Callable[[Path], object]) -> None:
    """Hard-link the artifact's files (copied where links cannot be) into `target`, which appears whole or not at all.

    `finish` may add files to the folder, or put its own in the place of linked ones, before `target` appears.

    Raises:
        DeployError: the artifact is not a model folder, or it could not be linked or copied.
    """
    require_model_files(artifact)
    staging = target.with_name(f".{target.name}.incomplete")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        for source in _files(artifact):
            link_or_copy(source, staging / source.relative_to(artifact))
        finish(staging)
        staging.rename(target)
    except OSError as error:
        raise DeployError(
            f"the model's files could not be brought to Foundry Local: {error}",
            where=str(target),
            next_step="see that the folder can be written to and that the disk has room",
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def require_model_files(artifact: Path) -> None:
    """Raise if a folder is not a complete onnxruntime-genai model.

    Foundry Local itself registers any folder with a file called genai_config.json and fails when it loads.

    Raises:
        DeployError: genai_config.json cannot be read, or a file that it names, or the tokenizer, is missing.
    """
    config = artifact / "genai_config.json"
    try:
        settings = json.loads(config.read_text(encoding="utf-8"))
        graphs = sorted(set(_graph_names(settings["model"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeployError(
            f"the folder is no onnxruntime-genai model: genai_config.json cannot be read ({error})",
            where=str(artifact),
            next_step="give the folder that a conversion wrote",
        ) from error
    missing = [name for name in (*graphs, "tokenizer.json") if not (artifact / name).is_file()]
    if missing or not graphs:
        raise DeployError(
            f"the model is incomplete: {', '.join(missing) or 'no graph'} is missing",
            where=str(artifact),
            next_step="convert it again",
        )


def _graph_names(model: object) -> Iterator[str]:
    """Every `filename` of a .onnx graph in the model section, however deep (pipelines, encoders)."""
    if isinstance(model, list):
        for entry in model:
            yield from _graph_names(entry)
    if isinstance(model, dict):
        for key, entry in model.items():
            if key == "filename" and isinstance(entry, str) and entry.endswith(".onnx"):
                yield entry
            yield from _graph_names(entry)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
