"""Corrections of onnxruntime-genai's model builders for transformers 5, applied while they run.

Runs inside the conversion worker, where the harness cannot be imported. It knows two builders: the one of the release
that Olive works with, and the one of the release that serves. Each amendment was found by comparing an unquantised
graph with its source; without it, a test of the architecture fails:

* configs lost `rope_theta`, `partial_rotary_factor` and `rope_local_base_freq`: Gemma 3 did not convert, and Phi
  rotated whole heads instead of a part of each;
* the layers with a sliding window were the wrong ones (Gemma 2), or none (Mistral, Phi-3);
* OLMo's LayerNorm became an RMSNorm, with another epsilon;
* SmolLM3's layers without rotary embedding did not convert;
* scaled rotary embeddings lost their scaling (yarn; linear in Gemma 3 and in the newer builder's Llama), or did not
  convert (longrope): their tables come from transformers itself now.
"""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any
from unittest import mock


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


def remember_config(init: Any) -> Any:
    """Keep the config, most of which a builder drops."""

    def __init__(self: Any, config: Any, *rest: Any) -> None:
        self.amended_config = config
        init(self, config, *rest)

    return __init__


def is_sliding(self: Any, layer_id: int) -> bool:
    """Whether a layer has a sliding window; without a list of layer types, every layer of a model with a window has."""
    layer_types = getattr(self.amended_config, "layer_types", None)
    if layer_types is None:
        return bool(getattr(self.amended_config, "sliding_window", None))
    return bool(layer_types[layer_id] == "sliding_attention")


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


def without_scaling(make_rope_init: Any, with_own_tables: type) -> Any:
    """Leave scaling to `tables_of_source`, unless the model makes its own tables.

    Dynamic scaling has no effect within a model's context.
    """

    def amended_init(self: Any, config: Any) -> None:
        tables = getattr(config, "rope_parameters", None) or {}
        is_nested = "full_attention" in tables
        # In this order Gemma 3 asks for its tables.
        self.amended_tables = iter(("full_attention", "sliding_attention") if is_nested else itertools.repeat(None))
        if tables.get("rope_type") == "default" or isinstance(self, with_own_tables):
            make_rope_init(self, config)

    return amended_init


def with_two_tables(self: Any, config: Any) -> None:
    """`make_rope_init` of a model with one table for short sequences and one for long ones."""
    self.amended_tables = itertools.repeat(None)
    unused = ("short_factor", "long_factor", "short_mscale", "long_mscale")
    self.rope_attrs["multi_cache"] = dict.fromkeys(unused, 1.0)


def tables_of_source(make_tables: Any) -> Any:
    """Cosines and sines of a scaled rotary embedding as transformers computes them."""

    def amended_tables(self: Any) -> Any:
        import torch  # type: ignore[import-not-found, unused-ignore]  # only in the toolchain
        from transformers.modeling_rope_utils import (  # type: ignore[import-not-found, unused-ignore]
            ROPE_INIT_FUNCTIONS,
        )

        config, part = self.amended_config, next(getattr(self, "amended_tables", iter(())), None)
        tables = getattr(config, "rope_parameters", None) or {}
        kind = (tables.get(part) or tables).get("rope_type", "default")
        if kind in ("default", "dynamic"):
            return make_tables(self)
        if kind == "longrope" and "multi_cache" not in self.rope_attrs:
            raise NotImplementedError("The longrope scaling of this architecture is not currently supported.")
        length = self.rope_attrs["cache_length"]
        frequencies, magnitude = ROPE_INIT_FUNCTIONS[kind](config, "cpu", seq_len=length, layer_type=part)
        angles = torch.outer(torch.arange(length).float(), frequencies)
        return angles.cos() * magnitude, angles.sin() * magnitude

    return amended_tables


def changes_of(builders: Any) -> Iterator[tuple[Any, str, Any]]:
    """Every amended attribute of a builder's classes: its owner, its name, and what it becomes."""
    model = builders.Model
    yield model, "__init__", remember_config(model.__init__)
    for owner in (model, builders.Gemma2Model, builders.Gemma3Model):
        if "is_local" in vars(owner):
            yield owner, "is_local", is_sliding
    for owner in (model, builders.LlamaModel):
        if "make_rope_init" in vars(owner):
            yield owner, "make_rope_init", without_scaling(owner.make_rope_init, builders.GPTOSSModel)
    yield builders.Phi3MiniLongRoPEModel, "make_rope_init", with_two_tables
    from_scratch = "make_rotary_embedding_caches_from_scratch"
    yield model, from_scratch, tables_of_source(getattr(model, from_scratch))
    yield builders.OLMoModel, "__init__", with_full_layernorm(builders.OLMoModel.__init__)
    yield builders.SmolLM3Model, "make_attention", without_rotation(builders.SmolLM3Model.make_attention)


@contextlib.contextmanager
def amended(builders: Any) -> Iterator[None]:
    """Apply the amendments to a builder's package and to transformers; undo them at the end."""
    from transformers import PreTrainedConfig  # type: ignore[import-not-found, unused-ignore]

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(PreTrainedConfig, "__getattr__", former_name, create=True))
        for owner, name, changed in list(changes_of(builders)):
            stack.enter_context(mock.patch.object(owner, name, changed))
        yield
