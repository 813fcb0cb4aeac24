"""What the pinned ModelBuilder gets wrong about transformers 5, set right while it runs.

Runs inside the conversion worker, where the harness cannot be imported. Each amendment was found by comparing an
unquantised graph with its source, and a test of the architecture fails without it:

* configs lost `rope_theta`, `partial_rotary_factor` and `rope_local_base_freq`: Gemma 3 did not convert, and Phi
  rotated whole heads instead of a part of each;
* Gemma 2 had its sliding window on every second layer, beginning with the wrong one;
* OLMo's LayerNorm became an RMSNorm, with another epsilon;
* SmolLM3's layers without rotary embedding did not convert.
"""

import contextlib
from collections.abc import Iterator
from typing import Any


def former_name(self: Any, name: str) -> Any:
    """`PreTrainedConfig.__getattr__`: the names under which configs had their rotary settings before transformers 5."""
    tables = self.__dict__.get("rope_parameters") or {}
    whole, local = tables.get("full_attention", tables), tables.get("sliding_attention", {})
    places = {
        "rope_theta": (whole, "rope_theta"),
        "partial_rotary_factor": (whole, "partial_rotary_factor"),
        "rope_local_base_freq": (local, "rope_theta"),
    }
    table, key = places.get(name, ({}, name))
    if key in table:
        return table[key]
    raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def remember_layer_types(init: Any) -> Any:
    """Keep what the config says of each layer."""

    def __init__(self: Any, config: Any, *rest: Any) -> None:
        self.amended_layer_types = list(config.layer_types)
        init(self, config, *rest)

    return __init__


def is_sliding(self: Any, layer_id: int) -> bool:
    """Whether a layer looks through a window, as the config says."""
    return bool(self.amended_layer_types[layer_id] == "sliding_attention")


def with_full_layernorm(init: Any) -> Any:
    """OLMo subtracts the mean, and adds its own epsilon."""

    def __init__(self: Any, *rest: Any) -> None:
        init(self, *rest)
        self.layernorm_attrs["simple"] = False
        self.layernorm_attrs["epsilon"] = 1e-5

    return __init__


def without_rotation(make_attention: Any) -> Any:
    """Make no rotary embedding at all in a layer that has none."""

    def amended_attention(self: Any, layer_id: int, *rest: Any, **options: Any) -> Any:
        kept = self.attention_attrs["rope"]
        self.attention_attrs["rope"] = bool(self.no_rope_layers[layer_id])
        try:
            return make_attention(self, layer_id, *rest, **options)
        finally:
            self.attention_attrs["rope"] = kept

    return amended_attention


@contextlib.contextmanager
def amended() -> Iterator[None]:
    """ModelBuilder with its amendments; everything is as before afterwards, so that transformers itself stays bare."""
    from onnxruntime_genai.models import builder  # type: ignore[import-not-found, unused-ignore]
    from transformers import PreTrainedConfig  # type: ignore[import-not-found]

    changes = [
        (builder.Gemma2Model, "__init__", remember_layer_types(builder.Gemma2Model.__init__)),
        (builder.Gemma2Model, "is_local", is_sliding),
        (builder.Gemma3Model, "is_local", is_sliding),
        (builder.OLMoModel, "__init__", with_full_layernorm(builder.OLMoModel.__init__)),
        (builder.SmolLM3Model, "make_attention", without_rotation(builder.SmolLM3Model.make_attention)),
    ]
    kept = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
    PreTrainedConfig.__getattr__ = former_name
    for owner, name, changed in changes:
        setattr(owner, name, changed)
    try:
        yield
    finally:
        for owner, name, original in kept:
            setattr(owner, name, original)
        del PreTrainedConfig.__getattr__
