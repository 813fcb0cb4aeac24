"""What the parts share: the demo and inflated models, their artifacts, progress on stderr."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.artifact.artifact import Artifact
from harness.config.settings import ModelSettings
from harness.config.variants import parse_variants
from harness.errors import GateError
from harness.pack.load import load_pack
from harness.pack.schema import DomainPack
from harness.pipeline.conversion import ConversionPipeline, VariantRequest
from harness.system.progress import LineProgress
from harness.toolchain.workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent.parent
DEMO = ROOT / "fixtures" / "data" / "demo"
VARIANTS = ("int4", "int8", "fp16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What a part found."""

    head: tuple[str, ...]
    rows: list[tuple[object, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Sentences below the table: how it was measured, and what every exception is."""

    def markdown(self) -> str:
        """The table and its notes."""
        lines = ["| " + " | ".join(self.head) + " |", "|" + "---|" * len(self.head)]
        lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in self.rows]
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)])


def say(text: str) -> None:
    """Progress, past what is printed as the result."""
    print(f"  … {text}", file=sys.stderr, flush=True)


def workspace(cache: Path, python: Path | None) -> Workspace:
    """Cache, toolchain and progress."""
    return Workspace.open(cache, python=python, progress=LineProgress(say))


def demo_pack() -> DomainPack:
    """The demo's questions."""
    return load_pack(DEMO / "pack")


def artifacts(model: Path, place: Workspace, variants: str = ",".join(VARIANTS)) -> Mapping[str, Artifact]:
    """The model's variants, from the cache or converted; without proofs of their graphs."""
    requests = {name: VariantRequest.from_settings(one) for name, one in parse_variants(variants).items()}
    settings = ModelSettings(source=str(model))
    pipeline = ConversionPipeline(model=settings, variants=requests, workspace=place, has_fidelity=False)
    made = {}
    for name, one in pipeline.artifacts.items():
        if isinstance(one, GateError):
            raise one
        made[name] = one
    return made


def inflated(size: str, folder: Path, place: Workspace) -> Path:
    """The demo's function at another size, made if it is not there."""
    model = folder / f"inflated-{size}"
    if not (model / "config.json").is_file():
        say(f"inflating the demo model to {size}")
        script = ROOT / "benchmarks" / "inflate.py"
        command = [*place.toolchain().command(script), DEMO / "model", model, size]
        subprocess.run([str(part) for part in command], check=True)
    return model
