"""Artifacts that were converted elsewhere: inspected and tested where they are, never copied or changed."""

from __future__ import annotations

import re
from pathlib import Path

from harness.artifact.artifact import Artifact, describe
from harness.artifact.facts import precision_of
from harness.artifact.inspect import inspect_artifact
from harness.artifact.matching import require_match
from harness.config.settings import VariantSettings
from harness.errors import ArtifactError
from harness.recipes.recipe import PRECISIONS, Recipe, load_recipe
from harness.runtime.smoke_test import smoke_test
from harness.source.source import Source
from harness.toolchain.workspace import Workspace


def adopt(
    folder: Path,
    recipe: Recipe | None,
    variant: str,
    workspace: Workspace,
    *,
    source: Source | None = None,
) -> Artifact:
    """The artifact in a folder that was converted elsewhere, after its one smoke test.

    `recipe` is what the graph must be; None where nobody says so.

    Raises:
        ArtifactError: it is incomplete, is not what `recipe` says, has other settings than `source`, or does not
            answer.
    """
    facts = inspect_artifact(folder)
    if recipe is None:
        recipe = _recipe_of(folder, precision_of(facts))
    require_match(folder, variant, facts, recipe, source=source, is_adopted=True)
    workspace.notify(f"{variant}: smoke test")
    smoke_test(folder, target=recipe.target, log=workspace.log(f"{variant}.smoke-test"))
    return describe(folder, variant, recipe, facts, {}, was_reused=True)


def adopted_variant(folder: Path) -> tuple[str, VariantSettings]:
    """A name for a converted folder, and the settings of a variant that adopts it as what its graph is.

    Raises:
        ArtifactError: it is no complete model, or of no precision that can be checked.
    """
    folder = folder.resolve()
    precision = _recipe_of(folder, precision_of(inspect_artifact(folder))).precision
    name = re.sub(r"[^a-z0-9._-]+", "-", folder.name.lower()).strip("-._") or "variant"
    return name, VariantSettings(artifact=folder, precision=precision)


def _recipe_of(folder: Path, precision: str) -> Recipe:
    """What a folder is by its graph."""
    if precision not in PRECISIONS:
        raise ArtifactError(
            f"its matrices are stored in {precision}; only {', '.join(PRECISIONS)} can be checked",
            where=str(folder),
            next_step="see what is in it: slm-gate inspect FOLDER",
        )
    return load_recipe(precision)
