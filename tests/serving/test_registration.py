"""A variant that Foundry Local does not list or load is told."""

from __future__ import annotations

import pytest

from harness.serving.registration import measure_registration


@pytest.mark.parametrize(
    ("listed", "context_length", "is_listed", "is_loaded"),
    [(("mine:1",), 2048, 1.0, 1.0), (("other:1",), 2048, 0.0, 1.0), ((), 0, 0.0, 0.0)],
)
def test_what_foundry_local_knows_of_the_variant(
    listed: tuple[str, ...], context_length: int, is_listed: float, is_loaded: float
) -> None:
    found = measure_registration("mine:1", listed=listed, context_length=context_length).measurement
    assert found.estimate("foundry_lists_model").value == is_listed
    assert found.estimate("foundry_loads_model").value == is_loaded
    assert ("mine:1 is not among" in found.details["foundry_lists_model"]) is not bool(is_listed)
