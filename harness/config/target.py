"""Where a variant runs: all that the gate knows of execution providers stands here.

Names are those of ONNX Runtime (`CUDAExecutionProvider`), of onnxruntime-genai's builder and config (`cuda`), and of
the packages that have them. Only CPU is verified.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Final, Literal, NamedTuple, get_args

from harness.errors import ConfigError

Device = Literal["cpu", "gpu", "npu"]
CPU_PROVIDER: Final = "CPUExecutionProvider"
DEVICES: Final[tuple[Device, ...]] = get_args(Device)


class _Provider(NamedTuple):
    """What belongs to one execution provider."""

    devices: tuple[Device, ...]
    """The devices that it drives; the first one is meant where none is named."""

    genai_name: str
    """What onnxruntime-genai calls it, in its builder and in genai_config.json."""

    package: str
    """The build of onnxruntime-genai that serves it."""

    onnxruntime_package: str
    """The build of onnxruntime that has it."""


_PROVIDERS: Final[Mapping[str, _Provider]] = {
    CPU_PROVIDER: _Provider(("cpu",), "cpu", "onnxruntime-genai", "onnxruntime"),
    "CUDAExecutionProvider": _Provider(("gpu",), "cuda", "onnxruntime-genai-cuda", "onnxruntime-gpu"),
    "DmlExecutionProvider": _Provider(("gpu", "npu"), "dml", "onnxruntime-genai-directml", "onnxruntime-directml"),
    "WebGpuExecutionProvider": _Provider(("gpu",), "webgpu", "onnxruntime-genai", "onnxruntime-webgpu"),
    "QNNExecutionProvider": _Provider(("npu", "gpu"), "QNN", "onnxruntime-genai", "onnxruntime-qnn"),
    "OpenVINOExecutionProvider": _Provider(
        ("cpu", "gpu", "npu"), "OpenVINO", "onnxruntime-genai", "onnxruntime-openvino"
    ),
}
PROVIDERS: Final = tuple(_PROVIDERS)
"""The execution providers that a target may name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An execution provider and the device that it drives.

    Raises:
        ValueError: there is no such provider, or it does not drive this device.
    """

    provider: str = CPU_PROVIDER
    """As ONNX Runtime spells it."""

    device: Device = "cpu"

    def __post_init__(self) -> None:
        if self.provider not in _PROVIDERS:
            raise ValueError(f"{self.provider!r} is no execution provider; use one of {', '.join(PROVIDERS)}")
        devices = _PROVIDERS[self.provider].devices
        if self.device not in devices:
            raise ValueError(f"{self.provider} does not run on {self.device!r}; use {' or '.join(devices)}")

    @classmethod
    def of(cls, provider: str, device: Device | None = None) -> Target:
        """A provider on a device, or on the one that it usually drives.

        Raises:
            ValueError: there is no such provider, or it does not drive this device.
        """
        usual = _PROVIDERS[provider].devices[0] if provider in _PROVIDERS else "cpu"
        return cls(provider=provider, device=device or usual)

    @property
    def is_verified(self) -> bool:
        """Whether the gate's verdicts about it are tested."""
        return self.provider == CPU_PROVIDER

    @property
    def builder_name(self) -> str:
        """What onnxruntime-genai's model builder calls the provider."""
        return _PROVIDERS[self.provider].genai_name

    @property
    def session_providers(self) -> tuple[str, ...]:
        """The providers that onnxruntime-genai is told to use, as it calls them; empty for CPU, its default."""
        return () if self.provider == CPU_PROVIDER else (self.builder_name,)

    @property
    def provider_options(self) -> list[dict[str, dict[str, str]]]:
        """`provider_options` of genai_config.json."""
        return [{name: {}} for name in self.session_providers]

    @property
    def accelerator(self) -> dict[str, Any]:
        """The accelerator of an Olive workflow."""
        return {"device": self.device, "execution_providers": [self.provider]}

    def matches(self, providers: tuple[str, ...]) -> bool:
        """Whether these are the providers of a genai_config.json for this target."""
        return {name.lower() for name in providers} == {name.lower() for name in self.session_providers}

    def as_dict(self) -> dict[str, str]:
        """The target as plain JSON values; `Target(**target.as_dict())` is the same again."""
        return {"provider": self.provider, "device": self.device}

    def require_available(self, variant: str) -> None:
        """Raise if the target of `variant` cannot be used in this environment; CPU always can.

        Raises:
            ConfigError: with the package that it takes.
        """
        if self.is_verified:
            return
        entry = _PROVIDERS[self.provider]
        needed = tuple(dict.fromkeys((entry.package, entry.onnxruntime_package)))
        missing = [name for name in needed if not _is_installed(name)]
        if missing:
            verb = "are" if len(missing) > 1 else "is"
            raise self._unavailable(variant, f"{' and '.join(missing)} {verb} not installed here", needed)
        if self.provider not in _onnxruntime_providers():
            raise self._unavailable(variant, "onnxruntime does not find it on this machine", needed)

    def _unavailable(self, variant: str, reason: str, needed: tuple[str, ...]) -> ConfigError:
        return ConfigError(
            f"{variant}: {self.provider} cannot be used: {reason}; slm-gate is verified on {CPU_PROVIDER} only",
            where=f"provider of variant {variant}",
            next_step=f"leave `provider` out; or, unverified, install {' and '.join(needed)} on a machine with such a "
            "device",
        )


CPU: Final = Target()
"""The target that is verified, and the default everywhere."""

GPU_BUILD: Final = Target(provider="CUDAExecutionProvider", device="gpu")
"""What Olive must be told to build fp16 for: it refuses fp16 for CPU, and the graph is the same."""


def target_of(spec: Mapping[str, Any]) -> Target:
    """The `target` of a job or of a session spec; CPU where it names none."""
    return Target(**spec["target"]) if "target" in spec else CPU


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _onnxruntime_providers() -> list[str]:
    """What the installed onnxruntime can run on; only imported for a target other than CPU."""
    import onnxruntime

    return list(onnxruntime.get_available_providers())
