"""What was measured of healthy graphs, for tests that change one thing about it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from harness.verify.compare_weights import WeightComparison
from harness.verify.fidelity import Fidelity, ReferenceExport

EXACT = Fidelity(
    first_kld_nats=1e-12,
    short_kld_nats=1e-12,
    long_kld_nats=2e-12,
    short_noise=1e-6,
    long_noise=1e-6,
    continued_kld_nats=1e-12,
    sequence_tokens=511,
    base_kld_nats=None,
    base_from_source_nats=None,
)
INT4 = replace(EXACT, first_kld_nats=0.1, short_kld_nats=0.1, long_kld_nats=0.1, short_noise=0.1, long_noise=0.1)
ALIKE = WeightComparison(rotary_difference=0.0, is_named_alike=True, differences=())
EXPORT = ReferenceExport(path=Path("reference export"), found=EXACT, weight_comparison=ALIKE)


def artifact(bits=4, variant="int4", path="folder", is_adopted=False):
    """What the criteria read of an artifact."""
    facts = SimpleNamespace(weights_per_bits={bits: 1}, model_file="model.onnx")
    recipe = SimpleNamespace(olive_config=None, backend="olive")
    return SimpleNamespace(variant=variant, path=path, facts=facts, recipe=recipe, is_adopted=is_adopted)
