"""Whether the files of an artifact match its recipe and its source."""

from __future__ import annotations

from pathlib import Path

from harness.artifact.facts import ArtifactFacts, differences_from_source, discrepancies
from harness.errors import ArtifactError, GateError
from harness.prompts.chat_template import asked_names, means_the_same, special_tokens
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
    found = find_templates(folder)
    other = next((template for template in found if not means_the_same(template.text, wanted.text)), None)
    if other is None:
        return _token_problems(folder, source, wanted.text)
    names = (f"the source's {wanted.file}", f"the artifact's {other.file}")
    return [
        "chat template: it is not the source's, so the model would get prompts in another form: "
        + first_difference(wanted, other, names=names)
    ]


def _token_problems(folder: Path, source: Source, template: str) -> list[str]:
    """Special tokens that the template writes, where two folders have others by one name."""
    asked = asked_names(template)
    try:
        ours, theirs = (special_tokens(place) for place in (folder, source.path))
    except GateError:  # told by who renders it
        return []
    return [
        f"chat template: it writes {name}, which tokenizer_config.json says is {ours.get(name)!r}, "
        f"the source's {text!r}"
        for name, text in theirs.items()
        if name in asked and ours.get(name) != text
    ]
