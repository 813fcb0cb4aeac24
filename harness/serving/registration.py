"""Whether Foundry Local knows the variant that was registered with it."""

from __future__ import annotations

from collections.abc import Collection

from harness.metrics.measurement import Measured, Measurement
from harness.stats.estimate import Estimate


def measure_registration(model_id: str, *, listed: Collection[str], context_length: int) -> Measured:
    """Whether the variant is listed, and loaded: then Foundry Local tells its context length.

    Args:
        model_id: the variant's id in Foundry Local.
        listed: the ids that it lists.
        context_length: of the loaded model, in tokens.
    """
    is_listed = model_id in listed
    return Measured(
        measurement=Measurement(
            estimates={
                "foundry_lists_model": Estimate.exact(float(is_listed)),
                "foundry_loads_model": Estimate.exact(float(context_length > 0)),
            },
            details={
                "foundry_lists_model": "" if is_listed else f"{model_id} is not among {', '.join(listed) or 'none'}"
            },
        )
    )
