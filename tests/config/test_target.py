"""A target knows its names everywhere, and says what it takes where it cannot be used."""

import pytest
from pydantic import ValidationError

from harness.config import target as module
from harness.config.settings import VariantSettings
from harness.config.target import CPU, PROVIDERS, Target, target_of
from harness.config.variants import parse_variants
from harness.errors import ConfigError

CUDA = Target(provider="CUDAExecutionProvider", device="gpu")


def test_cpu_is_the_default_and_needs_nothing():
    assert Target() == CPU
    assert (CPU.is_verified, CPU.session_providers, CPU.provider_options, CPU.builder_name) == (True, (), [], "cpu")
    assert CPU.accelerator == {"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}
    CPU.require_available("int4")


def test_another_provider_is_called_by_its_name_everywhere():
    assert (CUDA.is_verified, CUDA.session_providers, CUDA.provider_options) == (False, ("cuda",), [{"cuda": {}}])
    assert CUDA.accelerator == {"device": "gpu", "execution_providers": ["CUDAExecutionProvider"]}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_target_survives_the_way_into_a_child_process(provider):
    one = Target.of(provider)
    assert target_of({"target": one.as_dict()}) == one
    assert target_of({}) == CPU


@pytest.mark.parametrize(
    ("target", "providers", "is_match"),
    [(CPU, (), True), (CPU, ("cuda",), False), (CUDA, ("CUDA",), True), (CUDA, (), False), (CUDA, ("dml",), False)],
)
def test_a_config_is_compared_with_the_target(target, providers, is_match):
    assert target.matches(providers) is is_match


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"provider": "CudaExecutionProvider"}, "is no execution provider; use one of CPUExecutionProvider"),
        ({"provider": "CUDAExecutionProvider", "device": "npu"}, "does not run on 'npu'; use gpu"),
        ({"device": "gpu"}, "CPUExecutionProvider does not run on 'gpu'; use cpu"),
        ({"device": "tpu"}, "Input should be 'cpu', 'gpu' or 'npu'"),
    ],
)
def test_what_does_not_fit_together_is_told(settings, told):
    with pytest.raises(ValidationError, match=told):
        VariantSettings(recipe="int4", **settings)


def test_the_device_follows_from_the_provider():
    assert VariantSettings(recipe="int4").target == CPU
    assert VariantSettings(recipe="int4", provider="CUDAExecutionProvider").target == CUDA
    assert VariantSettings(recipe="int4", provider="QNNExecutionProvider", device="gpu").target.device == "gpu"


def test_the_command_line_names_it_too():
    (settings,) = parse_variants("int4:provider=CUDAExecutionProvider:device=gpu").values()
    assert settings.target == CUDA


def test_a_provider_that_does_not_exist_is_told_on_the_command_line_too():
    with pytest.raises(ConfigError, match="'Cuda' is no execution provider; use one of CPUExecutionProvider, CUDA"):
        parse_variants("int4:provider=Cuda")


def test_a_package_that_is_missing_is_named():
    with pytest.raises(
        ConfigError, match="onnxruntime-genai-cuda and onnxruntime-gpu are not installed here"
    ) as caught:
        CUDA.require_available("int4")
    assert "verified on CPUExecutionProvider only" in caught.value.what
    assert "install onnxruntime-genai-cuda and onnxruntime-gpu" in caught.value.next_step


@pytest.mark.parametrize(("found", "is_there"), [(["CPUExecutionProvider"], False), (["CUDAExecutionProvider"], True)])
def test_a_provider_that_the_machine_lacks_is_told(monkeypatch, found, is_there):
    monkeypatch.setattr(module, "_is_installed", lambda package: True)
    monkeypatch.setattr(module, "_onnxruntime_providers", lambda: found)
    if is_there:
        CUDA.require_available("int4")
        return
    with pytest.raises(ConfigError, match="does not find it on this machine"):
        CUDA.require_available("int4")
