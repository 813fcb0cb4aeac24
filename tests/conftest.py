"""What several test folders share: toy inputs, and real conversions of the demo model and of a tiny one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures import alone
from harness.convert.convert import convert
from harness.errors import GateError
from harness.recipes.recipe import Recipe, load_recipe
from harness.source.source import Source, resolve_source
from harness.system.paths import default_cache
from harness.system.progress import LineProgress
from harness.toolchain.toolchain import Toolchain, ToolchainOnDemand, quiet_environment
from harness.toolchain.workspace import Workspace
from tests.measure.leak_controls import LEAKS_IN_C
from tests.once import made_once
from tests.tiers import (  # noqa: F401 (hooks)
    pytest_collection_modifyitems,
    pytest_itemcollected,
    pytest_runtest_protocol,
    pytest_runtest_teardown,
)
from tests.toys import CONFIG, NoToolchain, write_artifact, write_safetensors

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background: children would never see Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
TINY_MODEL = Path(__file__).with_name("tiny_model.py")
SCHEMA = {
    "type": "object",
    "properties": {"status": {"enum": ["ok", "out_of_scope"]}, "part": {"type": "string"}},
    "required": ["status"],
    "additionalProperties": False,
}


def write_pack(folder: Path, **replace: str) -> Path:
    """A small valid domain pack; `replace` puts other text into a file (dots and dashes as underscores)."""
    cases = [
        {"id": f"case-{n}", "kind": "part", "split": "dev" if n % 2 else "final",
         "messages": [{"role": "user", "content": f"part {n}?"}], "expected": {"status": "ok", "part": str(n)}}
        for n in range(8)
    ]  # fmt: skip
    declined = {"status": "out_of_scope"}
    cases.append(
        {
            "id": "oos-1",
            "kind": "out_of_scope",
            "messages": [{"role": "user", "content": "weather?"}],
            "expected": declined,
        }
    )
    edges = [
        {"id": "empty", "kind": "empty", "messages": [{"role": "user", "content": ""}], "expect": "answer"},
        {
            "id": "over",
            "kind": "over_context",
            "messages": [{"role": "user", "content": "long "}],
            "expect": "error",
            "over_context": True,
        },
    ]
    files = {
        "domain_toml": 'schema_version = 1\nname = "parts"\ndescription = "d"\nmax_new_tokens = 48\n[length]\npadding_tokens = [0, 40]\ncases = 4\n',
        "cases_jsonl": "\n".join(map(json.dumps, cases)),
        "edge_cases_jsonl": "\n".join(map(json.dumps, edges)),
        "texts_jsonl": json.dumps({"id": "t1", "text": "the pump is part 1"}),
        "response_schema_json": json.dumps(SCHEMA),
        "padding_txt": "unrelated words about the sea and the wind that mean nothing here",
        **replace,
    }
    names = {
        name.replace(".", "_"): name
        for name in (
            "domain.toml",
            "cases.jsonl",
            "edge_cases.jsonl",
            "texts.jsonl",
            "response.schema.json",
            "padding.txt",
        )
    }
    folder.mkdir(parents=True, exist_ok=True)
    for key, text in files.items():
        (folder / names[key]).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def pack_folder(tmp_path):
    return write_pack(tmp_path / "pack")


@pytest.fixture
def toy_source(tmp_path):
    """A folder that passes for a model as long as nobody computes with it."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    write_safetensors(folder / "model.safetensors")
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0, "b": 7}}, "added_tokens": []}))
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


@pytest.fixture
def bare_workspace(tmp_path):
    """A workspace over an empty cache, without a toolchain."""
    return Workspace(cache=tmp_path / "cache", toolchain=NoToolchain())


@pytest.fixture
def make_artifact(tmp_path):
    """Writes toy artifacts: `make_artifact("name", bits=8)`."""
    return lambda name="artifact", **options: write_artifact(tmp_path / name, **options)


@pytest.fixture(scope="session")
def toolchain_on_demand(progress):
    """The conversion environment: `$SLM_GATE_TOOLCHAIN`, or the one in the user's cache, made on first need."""
    return ToolchainOnDemand(cache=default_cache(), progress=progress)


@pytest.fixture(scope="session")
def toolchain(toolchain_on_demand: ToolchainOnDemand) -> Toolchain:
    """The same, made if need be and verified."""
    return toolchain_on_demand()


@pytest.fixture(scope="session")
def toolchain_python(toolchain):
    """Its interpreter."""
    return toolchain.python


@pytest.fixture(scope="session")
def demo_artifacts(toolchain_on_demand, progress):
    """The demo model in int4, int8 and fp16, from the same cache as the gate's; never to be written to."""
    recipes: dict[str, Recipe] = {name: load_recipe(name) for name in ("int4", "int8", "fp16")}
    source = resolve_source(str(ROOT / "fixtures/data/demo/model"))
    found = convert(source, recipes, Workspace(cache=default_cache(), toolchain=toolchain_on_demand, progress=progress))
    for artifact in found.values():
        if isinstance(artifact, GateError):
            raise artifact
    return found


@pytest.fixture(scope="session")
def demo_artifact(demo_artifacts):
    """Folder of the demo model in int4; never to be written to."""
    return demo_artifacts["int4"].path


@pytest.fixture(scope="session")
def shared_folder(pytestconfig, tmp_path_factory) -> Path:
    """A temporary folder of the whole run: under xdist the workers share it, so `made_once` writes into it."""
    folder = (alone.shared_folder(pytestconfig) or tmp_path_factory.getbasetemp()) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def make_models(toolchain) -> Callable[..., None]:
    """Writes real models with random weights: `make_models(folder, *architectures)`, see tiny_model.py."""

    def make(folder, *architectures):
        command = [str(part) for part in (*toolchain.command(TINY_MODEL), folder, *architectures)]
        subprocess.run(command, check=True, env={**os.environ, **quiet_environment()}, stderr=sys.stderr)

    return make


@pytest.fixture(scope="session")
def tiny_source(make_models, shared_folder) -> Source:
    """A real Qwen2 model with random weights."""
    return resolve_source(str(made_once(shared_folder / "tiny model", make_models)))


@pytest.fixture(scope="session")
def shared_cache(shared_folder: Path) -> Path:
    """The cache in which every conversion is found that a test of this run has made, but for those that need their own."""
    folder = shared_folder / "cache"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def shared_workspace(shared_cache, toolchain) -> Workspace:
    """That cache with the toolchain."""
    return Workspace(cache=shared_cache, toolchain=toolchain, progress=LineProgress(print))


@pytest.fixture(scope="session")
def converted(tiny_source, shared_workspace):
    """Four variants of the tiny model, made by one worker."""
    recipes = {name: load_recipe(name) for name in ("int4", "int8", "fp16", "fp32")}
    return convert(tiny_source, recipes, shared_workspace)


ADAPTER = """
import json, sys, torch
from pathlib import Path
from safetensors.torch import load_file, save_file
base, folder, size = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
torch.manual_seed(1)
weight = load_file(base / "model.safetensors")["model.layers.0.mlp.down_proj.weight"]
name = "base_model.model.model.layers.0.mlp.down_proj"
down, up = size * torch.randn(4, weight.shape[1]), torch.randn(weight.shape[0], 4)
tensors = {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
save_file(tensors, folder / "adapter_model.safetensors")
settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": str(base)}
(folder / "adapter_config.json").write_text(json.dumps(settings))
torch.save((weight.float() + 2.0 * up @ down).half(), folder / "expected.pt")
"""


@pytest.fixture
def make_adapter(toolchain, tiny_source, tmp_path):
    """Writes a LoRA adapter of the tiny model, and in `expected.pt` the matrix that it should give."""

    def make(*, size):
        folder = tmp_path / f"adapter-{size}"
        folder.mkdir()
        command = [toolchain.python, "-c", ADAPTER, tiny_source.path, folder, str(size)]
        subprocess.run([str(part) for part in command], check=True)
        return folder

    return make


@pytest.fixture
def build_library(tmp_path):
    """Compiles C source into a shared object; skips where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("something native is planted, and there is no `cc` to compile it")

    def build(source):
        file, library = tmp_path / "planted.c", tmp_path / "planted.so"
        file.write_text(textwrap.dedent(source), encoding="utf-8")
        command = [compiler, "-shared", "-fPIC", "-g", "-O0", "-o", library, file]
        subprocess.run(command, check=True, capture_output=True)
        return library

    return build


@pytest.fixture
def leaky_library(build_library: Callable[[str], Path]) -> Path:
    """A shared object with `keep_64_bytes()` and `keep_a_page()`."""
    return build_library(LEAKS_IN_C)


SPY = """
    #define _GNU_SOURCE
    #include <dlfcn.h>
    #include <netdb.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>

    typedef int look_up(const char *, const char *, const struct addrinfo *, struct addrinfo **);

    int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
        int is_here = !name || !strcmp(name, "localhost") || !strncmp(name, "127.", 4);
        FILE *log = is_here ? NULL : fopen(getenv("SPY_LOG"), "a");
        if (log) { fprintf(log, "%s\\n", name); fclose(log); }
        return is_here ? ((look_up *)dlsym(RTLD_NEXT, "getaddrinfo"))(name, service, hints, found) : EAI_NONAME;
    }
"""


@pytest.fixture
def looked_up(build_library, tmp_path):
    """Runs a command, and returns the names of all other hosts that it asked for, and that were not given to it."""
    if sys.platform != "linux":
        pytest.skip("the spy is a Linux shared object")
    log, library = tmp_path / "looked-up", build_library(SPY)

    def run(command, **environment):
        # Nothing of the caller's environment: what says that this is CI silences some.
        spied = {"LD_PRELOAD": str(library), "SPY_LOG": str(log), "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
        plain = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
        subprocess.run(
            [str(part) for part in command],
            env={**plain, **spied, **environment},
            cwd=tmp_path,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return set(log.read_text(encoding="utf-8").split()) if log.exists() else set()

    return run
