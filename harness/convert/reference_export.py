"""The fp32 reference export: the same model converted without quantisation, by the same back-end as a variant.

A variant's rotary tables, weights and settings are compared with it, as its own divergence from the source hides small
faults behind what quantisation costs.
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.recipes.recipe import Backend, Recipe, load_recipe


def reference_export_name(backend: Backend) -> str:
    """What a back-end's reference export is called among the artifacts; no variant can have such a name."""
    return f"fp32 reference export ({backend})"


def reference_exports(backends: Iterable[Backend]) -> dict[str, Recipe]:
    """The recipe of each back-end's reference export, by its name."""
    return {reference_export_name(backend): load_recipe("fp32", backend=backend) for backend in sorted(set(backends))}
