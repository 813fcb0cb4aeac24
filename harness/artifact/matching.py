"""Whether the files of an artifact match its recipe and its source."""

from __future__ import annotations

from pathlib import Path

from harness.artifact.facts import ArtifactFacts, differences_from_source, discrepancies
from harness.errors import ArtifactError
from harness.prompts.template_files import find_templates, first_difference
from harness.recipes.recipe import Recipe
from harness.source.source import Source


def require_match(
    folder: Path,
    variant: str,
    facts: ArtifactFacts,
    recipe: Recipe,
    *,
    source: Source | None = None,
    is_adopted: bool = False,
    log: Path | None = None,
) -> None:
    """Raise if an artifact differs from its recipe, or from its source in a setting.

    Raises:
        ArtifactError: names every difference.
    """
    problems = discrepancies(facts, recipe, is_adopted=is_adopted)
    if source is not None:
        problems += differences_from_source(facts, source, is_adopted=is_adopted)
        problems += _template_problems(folder, source)
    if problems:
        raise ArtifactError(
            f"{variant} is not what was asked for: {'; '.join(problems)}",
            where=f"log: {log}" if log else str(folder),
            next_step="correct the request, or convert it again with options that have an effect",
        )


def _template_problems(folder: Path, source: Source) -> list[str]:
    wanted = next(iter(find_templates(source.path)), None)
    if wanted is None:
        return []
    other = next((template for template in find_templates(folder) if template.text != wanted.text), None)
    if other is None:
        return []
    names = (f"the source's {wanted.file}", f"the artifact's {other.file}")
    return [
        "chat template: it is not the source's, so the model would get prompts in another form: "
        + first_difference(wanted, other, names=names)
    ]
