"""The only module that imports `foundry_local_sdk`, and what the gate has to know about it.

Its errors begin with the C++ source line and signature they came from. Even with telemetry switched off it keeps a
cache of it in the user's own cache folder, and reports the process to Microsoft, unless it is told otherwise while it
starts. All of that is dealt with here.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from harness.errors import DeployError, GateError

INVALID_ARGUMENT: Final = 3
"""`FoundryLocalException.error_code` of a request that Foundry refuses before it does anything."""

IN_USE: Final = "still using it"
"""Part of what Foundry says when a model cannot be unloaded because of a request."""

LOCAL_CATALOG_PATH: Final = "/catalogs/local/v1"
"""Where the web service has registered models; its `/v1` is the public catalog, which answers 404 for them."""

MakeError = Callable[[BaseException], GateError]
"""Words the gate's own error for one that the SDK raised."""

_SOURCE_LINE: Final = re.compile(r"\S+\.(?:cc|cpp|h):\d+ (?=[^(]*fl::)")
"""Where a native message came from, up to the signature of one of Foundry's functions."""


def load_sdk() -> Any:
    """The module `foundry_local_sdk`, with the telemetry of Foundry and ONNX Runtime switched off.

    Raises:
        DeployError: it is not installed, or its native library does not load.
    """
    for switch in ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED"):
        os.environ.setdefault(switch, "1")
    try:
        import foundry_local_sdk
    except (ImportError, OSError) as error:
        raise DeployError(
            f"the Foundry Local SDK cannot be imported: {error}",
            next_step="install foundry-local-sdk 2.2.1 into the gate's environment",
        ) from error
    return foundry_local_sdk


def report_leaks_at_exit() -> bool:
    """Have the onnxruntime-genai in Foundry Local name, when the process ends, its objects that were never freed.

    Its log is off, and the SDK has no switch for it, so its C interface is asked; False where that is not found.
    """
    package = importlib.util.find_spec("onnxruntime_genai_core")
    folders = package.submodule_search_locations if package and package.submodule_search_locations else []
    libraries = [file for folder in folders for file in Path(folder, "bin").glob("*onnxruntime-genai.*")]
    try:
        switch = ctypes.CDLL(str(libraries[0])).OgaSetLogBool
    except (IndexError, OSError, AttributeError):
        return False
    switch.argtypes, switch.restype = (ctypes.c_char_p, ctypes.c_bool), ctypes.c_void_p
    return all(switch(name, True) is None for name in (b"enabled", b"warning"))


def start(folder: Path, logs: Path, catalog_url: str) -> tuple[Any, Any]:
    """Start Foundry Local in folders of its own, none of the user's; return its manager and its local catalog.

    Raises:
        DeployError: it did not start.
    """
    sdk = load_sdk()
    if sdk.FoundryLocalManager.instance is not None:
        raise DeployError(
            "Foundry Local already runs in this process, started by other code",
            next_step="close it, or deploy from a process of its own",
        )
    with raising(_could_not_start), _surroundings(folder / "cache-home"):
        sdk.FoundryLocalManager.initialize(
            sdk.Configuration(
                "slm-gate",
                app_data_dir=str(folder / "app-data"),
                model_cache_dir=str(folder / "model-cache"),
                logs_dir=str(logs),
                log_level=sdk.LogLevel.WARNING,
                catalog_urls=[(catalog_url, None)],
                web=sdk.Configuration.WebService(urls="http://127.0.0.1:0"),
                disable_nonessential_telemetry=True,
            )
        )
    manager: Any = sdk.FoundryLocalManager.instance
    return manager, manager.get_catalog(sdk.CatalogType.LOCAL)


def reason(error: BaseException) -> str:
    """The first line of an error without the C++ source lines and signatures in it."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    while found := _SOURCE_LINE.search(text):
        text = text[: found.start()] + _without_signature(text[found.end() :])
    return text


@contextmanager
def raising(make: MakeError) -> Iterator[None]:
    """Turn whatever the SDK raises inside the block into `make(error)`; a `GateError` passes as it is."""
    try:
        yield
    except (load_sdk().FoundryLocalException, RuntimeError, ValueError, TypeError, OSError) as error:
        raise make(error) from error


def _could_not_start(error: BaseException) -> DeployError:
    return DeployError(
        f"Foundry Local did not start: {reason(error)}",
        next_step="see that its home folder can be written to, and read the log in it",
    )


def _without_signature(text: str) -> str:
    """The text after a C++ signature: after the first closed parenthesis that a space follows."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == ")" and depth == 0 and text[position + 1 : position + 2] == " ":
            return text[position + 2 :].removeprefix("const ")
    return text


@contextmanager
def _surroundings(cache_home: Path) -> Iterator[None]:
    """While Foundry starts: no telemetry at all, as in CI, and on Linux a folder that it takes for the user's cache.

    It looks only once. `disable_nonessential_telemetry` alone still has it look up and call its telemetry's host.
    """
    wanted = {"CI": "1"}
    if sys.platform == "linux":
        cache_home.mkdir(parents=True, exist_ok=True)
        wanted["XDG_CACHE_HOME"] = str(cache_home)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
