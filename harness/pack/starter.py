"""A pack of five cases to be replaced: one of each way to say what a right answer is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.pack import defaults, prose
from harness.pack.faults import PLACEHOLDER
from harness.pack.load import assembled
from harness.pack.schema import OUT_OF_SCOPE, Case, DomainPack, DomainSettings

_CASES: tuple[dict[str, Any], ...] = (
    {"kind": "value", "expected": {"field": f"{PLACEHOLDER}: the JSON value that must come back"}},
    {"kind": "text", "expected": f"{PLACEHOLDER}: the text that must come back"},
    {"kind": "several", "one_of": [f"{PLACEHOLDER}: a right answer", "another right answer"]},
    {"kind": "words", "keywords": [f"{PLACEHOLDER}: a word that must stand in the answer"]},
    {"kind": OUT_OF_SCOPE, "expected": f"{PLACEHOLDER}: how the model declines"},
)


def starter_pack(folder: Path, name: str) -> DomainPack:
    """A pack that is refused until its five cases were replaced."""
    cases = [
        Case.model_validate(
            {
                "id": f"case-{number}",
                "messages": [{"role": "user", "content": f"{PLACEHOLDER}: a question of your users, {number}"}],
                **case,
            }
        )
        for number, case in enumerate(_CASES, 1)
    ]
    domain = DomainSettings(schema_version=1, name=name, description="", draft=True, max_new_tokens=256)
    return assembled(
        folder,
        domain,
        cases,
        None,
        edge_cases=defaults.edge_cases("en"),
        texts=defaults.texts(cases),
        padding=prose.padding("en", max(domain.length.padding_tokens)),
    )
