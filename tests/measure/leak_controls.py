"""Leaks to be caught: planted ones, and real ones of packages on the index; tests and benchmarks run the same ones.

A control is Python source that a child process runs at its start, from a `sitecustomize` on its PYTHONPATH: the product
has no hook for faults. `{library}` in it is a shared object made of `LEAKS_IN_C`, `{packages}` a folder of packages.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.measure.leak_check import LeakCheck
from harness.measure.leaks import SHORT_QUESTIONS, measure_leaks
from harness.pack.long_text import over_any_context
from harness.system.paths import REPOSITORY
from harness.system.progress import SILENT, Progress
from tests.once import made_once

QUESTIONS = [[{"role": "user", "content": text}] for text in SHORT_QUESTIONS]
TOO_LONG = [{"role": "user", "content": over_any_context(2048)}]

LEAKS_IN_C = """
    #include <stdlib.h>
    #include <string.h>
    #include <sys/mman.h>

    void keep(int size) { memset(malloc(size), 1, size); }
    void keep_64_bytes(void) { keep(64); }

    void keep_a_page(void) {
        void *page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memset(page, 1, 4096);
    }
"""

_START = """
import ctypes
kept, calls = [], 0
native = ctypes.CDLL({library!r})

def wrap(owner, name, after):
    original = getattr(owner, name)
    def wrapped(self, *args, **settings):
        global calls
        calls += 1
        found = original(self, *args, **settings)
        after(self, found, *args)
        return found
    setattr(owner, name, wrapped)
"""

_GENERATOR = (
    _START + "import onnxruntime_genai as og\nwrap(og.Generator, 'append_tokens', lambda self, _, tokens: {keep})"
)
_TOKEN = _START + "import onnxruntime_genai as og\nwrap(og.Generator, 'generate_next_token', lambda self, _: {keep})"
_GENAI = (
    _START + "from harness.runtime.genai import GenaiSession\nwrap(GenaiSession, '{method}', lambda self, *_: {keep})"
)
_FOUNDRY = (
    _START
    + "from harness.foundry.session import FoundrySession\nwrap(FoundrySession, '{method}', lambda self, found, *_: {keep})"
)

_EXCEPTION = """
kept = []
from harness.errors import InvalidPromptError
from {module} import {session} as Session
answer = Session.answer

def keeping(self, messages, **settings):
    try:
        return answer(self, messages, **settings)
    except InvalidPromptError as error:
        kept.append(error)
        raise

Session.answer = keeping
"""

_SWAPPED = (
    _GENERATOR.replace("{keep}", "native.keep_a_page()")
    + """
import harness.measure.children.meters as meters

class FakeSmaps:
    '''The kernel's own text, with every page that was kept moved from memory to swap.'''
    def exists(self): return True
    def read_bytes(self):
        text, swapped = real.read_bytes(), 4 * calls
        moved = {{b"Anonymous": -swapped, b"Rss": -swapped, b"Swap": swapped}}
        def line(old):
            name, _, value = old.partition(b":")
            return old if name not in moved else b"%s: %d kB" % (name, int(value.split()[0]) + moved[name])
        return b"\\n".join(map(line, text.splitlines()))

real, meters.SMAPS = meters.SMAPS, FakeSmaps()
"""
)

_LOST_OBJECT = _START + (
    "import onnxruntime_genai as og\n"
    "wrap(og.Generator, '__init__', lambda self, *_: ctypes.pythonapi.Py_IncRef(ctypes.py_object(self)))"
)

_LOST_MODEL = (
    _START
    + """
from pathlib import Path
from harness.foundry.session import FoundrySession
import onnxruntime_genai_core

def lose(self, *_):
    core = ctypes.CDLL(str(next(Path(onnxruntime_genai_core.__path__[0], "bin").glob("*onnxruntime-genai.*"))))
    core.OgaCreateModel.restype = ctypes.c_void_p
    core.OgaCreateModel(str(self._model.folder).encode(), ctypes.byref(ctypes.c_void_p()))

wrap(FoundrySession, 'reload', lose)
"""
)

_TOKENIZERS = """
import random, sys
sys.path.insert(0, {packages!r})
import harness.foundry.opening as opening
from harness.errors import InvalidPromptError
from harness.runtime.session import Answer, TokenTimeline
from tokenizers import Tokenizer

class TokenizerSession:
    '''Reads a long word that never came before, as log lines, hashes and base64 are.'''
    name, context_length, drawn = "tokenizers", 2048, random.Random(0)

    def __init__(self, path):
        self.tokenizer = Tokenizer.from_file(path + "/tokenizer.json")

    def answer(self, messages, *, max_new_tokens):
        if len(messages[0]["content"]) > 2048:
            raise InvalidPromptError("over the context")
        ids = self.tokenizer.encode("".join(self.drawn.choices("abcdefgh", k=2000))).ids
        return Answer(text="", token_ids=tuple(ids[:max_new_tokens]), finish_reason="length",
                      timeline=TokenTimeline(start_s=0.0, token_s=()))

    def close(self): pass

opening.open_session = lambda spec: TokenizerSession(spec["path"])
"""

_MISSING_IMAGE = """
import sys
sys.path.insert(0, {packages!r})
import onnxruntime_genai as og
import harness.foundry.opening as opening
from harness.errors import InvalidPromptError
from harness.runtime.session import Answer, TokenTimeline

class ImageSession:
    '''Is asked about an image that is not there: releases up to 0.13.2 keep the list of its paths.'''
    name, context_length = "images", 2048

    def answer(self, messages, *, max_new_tokens):
        if len(messages[0]["content"]) > 2048:
            try:
                og.Images.open("/missing/" + 200 * "x")
            except (RuntimeError, ValueError) as error:
                raise InvalidPromptError(str(error)) from None
        return Answer(text="", token_ids=(1,), finish_reason="stop", timeline=TokenTimeline(start_s=0.0, token_s=()))

    def close(self): pass

opening.open_session = lambda spec: ImageSession()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """A leak that must be caught, or a healthy process."""

    name: str
    runtime: str
    """`genai`, `foundry`, or another name for a session of the source's own."""

    source: str = ""
    """Run by the child at its start; nothing for a healthy process."""

    paths: frozenset[str] = frozenset()
    """Where it must be found; more may show it."""

    lost: str = ""
    """The object that the runtime's own report must name at the end; nothing where it must be empty."""

    package: str | None = None
    """A real one's package on the index, pinned."""


def _planted(name: str, source: str, *paths: str, runtime: str = "genai", lost: str = "") -> Control:
    return Control(name=name, runtime=runtime, source=source, paths=frozenset(paths), lost=lost)


def _kept(template: str, keep: str, **names: str) -> str:
    return template.replace("{keep}", keep).replace("{method}", names.get("method", ""))


PLANTED = (
    _planted("64 B native per request", _kept(_GENERATOR, "native.keep(64)"), "request", "stream"),
    _planted("64 B Python per request", _kept(_GENERATOR, "kept.append(bytes(31))"), "request", "stream"),
    _planted("16 B native per request", _kept(_GENERATOR, "native.keep(16)"), "request", "stream"),
    _planted("kept Generator", _kept(_GENERATOR, "kept.append(self)"), "request", "stream", lost="Generator"),
    _planted(
        "kept exception on the error path",
        _EXCEPTION.replace("{module}", "harness.runtime.genai").replace("{session}", "GenaiSession"),
        "error",
    ),
    _planted("4 KiB every 40th request", _kept(_GENERATOR, "calls % 40 or kept.append(bytes(4096))"), "request"),
    _planted("a page that is swapped out", _SWAPPED, "request"),
    _planted("16 B native per token", _kept(_TOKEN, "native.keep(16)"), "token"),
    _planted("16 B native per session", _kept(_GENAI, "native.keep(16)", method="open_and_drop"), "session"),
    _planted("16 B native per broken-off stream", _kept(_GENAI, "native.keep(16)", method="break_off"), "stream"),
    _planted("16 KiB native per load", _kept(_GENAI, "native.keep(16384)", method="reload"), "load"),
    _planted("lost reference to a Generator", _LOST_OBJECT, "session", "request", lost="Generator"),
    _planted("Foundry's core loses a model", _LOST_MODEL, "load", runtime="foundry", lost="Model"),
    _planted("kept Foundry request", _kept(_FOUNDRY, "kept.append(found)", method="_request"), "request", runtime="foundry"),
    _planted(
        "64 B native per Foundry request",
        _kept(_FOUNDRY, "native.keep(64)", method="_request"),
        "request",
        runtime="foundry",
    ),
    _planted(
        "kept Foundry exception on the error path",
        _EXCEPTION.replace("{module}", "harness.foundry.session").replace("{session}", "FoundrySession"),
        "error",
        runtime="foundry",
    ),
)  # fmt: skip


def _real(name: str, source: str, package: str, *paths: str) -> Control:
    return Control(name=name, runtime="package", source=source, package=package, paths=frozenset(paths))


WITHOUT_MEMRAY = "import sys\nsys.modules['memray'] = None\n"
"""Tracing stacks takes longer than everything else."""

SMALLEST = (
    _planted("16 B native per request", _kept(_GENERATOR, "native.keep(16)"), "request", "stream"),
    _planted(
        "16 B native per Foundry request",
        _kept(_FOUNDRY, "native.keep(16)", method="_request"),
        "request",
        runtime="foundry",
    ),
)
"""The smallest leaks that are claimed to be seen, in each runtime."""

REAL = (
    _real("tokenizers 0.20.3 on long words", _TOKENIZERS, "tokenizers==0.20.3", "request"),
    _real("onnxruntime-genai 0.13.2, image not there", _MISSING_IMAGE, "onnxruntime-genai==0.13.2", "error"),
)
"""Releases with leaks that were found in the field."""

MENDED = (
    _real("tokenizers 0.21.4 on long words", _TOKENIZERS, "tokenizers==0.21.4"),
    _real("onnxruntime-genai 0.14.1, image not there", _MISSING_IMAGE, "onnxruntime-genai==0.14.1"),
)
"""Later releases of the same, asked the same."""

HEALTHY = (Control(name="onnxruntime-genai", runtime="genai"), Control(name="Foundry Local", runtime="foundry"))


def run_control(
    control: Control,
    artifact: Path,
    folder: Path,
    *,
    cache: Path,
    method: str | None = None,
    is_traced: bool = False,
    progress: Progress = SILENT,
) -> LeakCheck:
    """Measure an artifact with the control's fault in the measured process; `folder` is a new one for its files.

    Without `is_traced` nobody looks for the stacks, as where there is no memray.
    """
    folder.mkdir(parents=True)
    fault = control.source if is_traced else WITHOUT_MEMRAY + control.source
    if "{library!r}" in fault:
        fault = fault.replace("{library!r}", repr(str(build_library(cache / "leaks-in-c"))))
    if control.package is not None:
        fault = fault.replace("{packages!r}", repr(str(install(control.package, cache))))
    fault = fault.replace("{{", "{").replace("}}", "}")
    spec = {"runtime": control.runtime, "path": str(artifact), "alias": "leaks", "home": str(folder / "home")}
    with _planted_source(fault, folder / "site"):
        return measure_leaks(
            spec, QUESTIONS, invalid=TOO_LONG, log=folder / "leaks.log", method=method, progress=progress
        )


def build_library(folder: Path) -> Path:
    """A shared object with the functions of `LEAKS_IN_C`.

    Raises:
        OSError: there is no C compiler.
    """

    def make(staging: Path) -> None:
        staging.mkdir(parents=True)
        (staging / "leaks.c").write_text(textwrap.dedent(LEAKS_IN_C), encoding="utf-8")
        source, library = staging / "leaks.c", staging / "leaks.so"
        command = ["cc", "-shared", "-fPIC", "-g", "-O0", "-o", library, source]
        subprocess.run([str(part) for part in command], check=True, capture_output=True)

    folder.parent.mkdir(parents=True, exist_ok=True)
    return made_once(folder, make) / "leaks.so"


def install(package: str, cache: Path) -> Path:
    """A folder with one package of the index and nothing that it depends on, kept in the cache."""

    def make(staging: Path) -> None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", staging, package]
        subprocess.run([str(part) for part in command], check=True)

    cache.mkdir(parents=True, exist_ok=True)
    return made_once(cache / package, make)


@contextmanager
def _planted_source(source: str, site: Path) -> Iterator[None]:
    """Have child processes run `source` before anything else."""
    site.mkdir()
    (site / "sitecustomize.py").write_text(source, encoding="utf-8")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(site), str(REPOSITORY), before]))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
