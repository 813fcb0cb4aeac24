"""Times, memory and processor use of a model at every point of the grid, and what the harness adds to them.

    python benchmarks/performance.py                                    # the demo's three variants
    python benchmarks/performance.py --source half-a-billion --variants int4,int8 --label half
    python benchmarks/performance.py --folder mine=CONVERTED_FOLDER     # what is converted already
    python benchmarks/performance.py --parts latency,memory --write     # into docs/performance.md, part `demo`

Run it on a machine with nothing else to do: a disturbed row says so. A model of half a billion parameters comes from
`slm-gate toolchain benchmarks/inflate.py fixtures/data/demo/model FOLDER 0.5b`; it takes about six minutes a variant.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the script runs without an installation

import psutil  # noqa: E402
from tabulate import tabulate  # noqa: E402

from benchmarks.pages import write_part  # noqa: E402
from harness.artifact.facts import ArtifactFacts  # noqa: E402
from harness.artifact.genai_config import read_settings  # noqa: E402
from harness.artifact.inspect import inspect_artifact  # noqa: E402
from harness.config.benchmark import BenchmarkSettings  # noqa: E402
from harness.config.settings import ModelSettings  # noqa: E402
from harness.config.target import CPU  # noqa: E402
from harness.config.variants import parse_variants  # noqa: E402
from harness.errors import GateError  # noqa: E402
from harness.foundry.opening import genai_spec  # noqa: E402
from harness.measure.bounds import Footprint, footprint_of  # noqa: E402
from harness.measure.latency import measure_latency  # noqa: E402
from harness.measure.latency_point import grid_points  # noqa: E402
from harness.measure.memory import measure_pack_resources  # noqa: E402
from harness.measure.resources import Expected, measured_resources  # noqa: E402
from harness.measure.timing import plain_rounds  # noqa: E402
from harness.metrics.units import format_bytes, format_seconds  # noqa: E402
from harness.pack.choose import conversations  # noqa: E402
from harness.pack.schema import DomainPack  # noqa: E402
from harness.pack.split import open_domain  # noqa: E402
from harness.pipeline.conversion import ConversionPipeline, VariantRequest  # noqa: E402
from harness.report.build import build_record  # noqa: E402
from harness.report.performance_tables import speed_tables  # noqa: E402
from harness.report.recorder import Recorder  # noqa: E402
from harness.runtime.genai import GenaiSession  # noqa: E402
from harness.runtime.session import Message, TokenTimeline  # noqa: E402
from harness.runtime.smoke_test import runtime_version  # noqa: E402
from harness.system.cpu import logical_cpus, processor_name  # noqa: E402
from harness.system.paths import default_cache  # noqa: E402
from harness.system.progress import LineProgress  # noqa: E402
from harness.toolchain.workspace import Workspace  # noqa: E402

PARTS: Final = ("latency", "memory", "overhead")
DEMO: Final = ROOT / "fixtures/data/demo"
QUESTIONS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A converted folder and what its graph says."""

    name: str
    folder: Path
    facts: ArtifactFacts

    @property
    def footprint(self) -> Footprint:
        """What it must read and compute at least."""
        return footprint_of(self.facts, read_settings(self.folder)["model"])


class WatchedSession(GenaiSession):
    """The gate's session, which adds up the time that requests take."""

    inside_s = 0.0

    def timed(self, messages: Sequence[Message], **options: Any) -> TokenTimeline:
        """The same, and its time."""
        start_s = time.perf_counter()
        try:
            return super().timed(messages, **options)
        finally:
            self.inside_s += time.perf_counter() - start_s


def main() -> None:
    """Measure and print."""
    given = arguments()
    parts = tuple(part for part in PARTS if part in given.parts.split(","))
    progress = LineProgress(lambda line: print(f"  … {line}", flush=True))
    settings = BenchmarkSettings(
        prompt_tokens=tuple(map(int, given.prompts.split(","))),
        batch=(1, 4),
        depth_tokens=(0, 512),
        max_s=given.seconds,
        disturbed="told",
    )
    pack, models = open_domain(given.domain), models_of(given, progress)
    with tempfile.TemporaryDirectory() as scratch:
        tables = measure(models, pack, settings, parts, Path(scratch, "run"), progress)
    text = "\n\n".join([about_machine(), *tables])
    print(text)
    if given.write:
        write_part("performance.md", given.label, text)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default=str(DEMO / "model"), help="source model, converted or found in the cache")
    parser.add_argument("--variants", default="int4,int8,fp16", help="of the source model")
    parser.add_argument("--folder", action="append", default=[], metavar="NAME=DIR", help="converted folder instead")
    parser.add_argument("--domain", type=Path, default=DEMO / "pack", help="whose questions and padding are used")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--prompts", default="64,256,1024", help="prompt lengths in tokens")
    parser.add_argument("--seconds", type=float, default=20.0, help="at most, at each point of the grid (default: 20)")
    parser.add_argument("--cache-dir", type=Path, default=default_cache(), help="where artifacts are")
    parser.add_argument("--toolchain", type=Path, help="an existing interpreter with the conversion packages")
    parser.add_argument("--label", default="demo", help="the part of docs/performance.md that --write replaces")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/performance.md")
    return parser.parse_args()


def models_of(given: argparse.Namespace, progress: LineProgress) -> list[Model]:
    """Converted folders, as given or made of the source."""
    if given.folder:
        named = dict(one.split("=", 1) for one in given.folder)
        return [
            Model(name=name, folder=Path(folder), facts=inspect_artifact(Path(folder)))
            for name, folder in named.items()
        ]
    variants = parse_variants(given.variants)
    pipeline = ConversionPipeline(
        model=ModelSettings(source=given.source),
        variants={name: VariantRequest.from_settings(one) for name, one in variants.items()},
        workspace=workspace_of(given, progress),
    )
    found = []
    for name in variants:
        made = pipeline.artifacts[name]
        if isinstance(made, GateError):
            sys.exit(str(made))
        found.append(Model(name=name, folder=made.path, facts=made.facts))
    return found


def workspace_of(given: argparse.Namespace, progress: LineProgress) -> Workspace:
    """Cache and toolchain."""
    return Workspace.open(given.cache_dir, python=given.toolchain, progress=progress)


def measure(
    models: Sequence[Model],
    pack: DomainPack,
    settings: BenchmarkSettings,
    parts: Sequence[str],
    run: Path,
    progress: LineProgress,
) -> list[str]:
    """The tables of the chosen parts, as Markdown."""
    recorder, costs = Recorder(run, "main"), []
    recorder.run(limits={model.name: {} for model in models})
    for model in models:
        if "latency" in parts:
            costs.append(measure_grid(model, pack, settings, recorder, progress))
        if "memory" in parts:
            measure_process(model, pack, settings, recorder, run.with_name("log"), progress)
    tables = [
        f"**{title[0].upper()}{title[1:]}**\n\n{table}" for title, table in speed_tables(build_record(run), "pipe")
    ]
    if "overhead" in parts:
        tables += overhead_tables(models, pack, costs, run.with_name("log"))
    return tables


def measure_grid(
    model: Model, pack: DomainPack, settings: BenchmarkSettings, recorder: Recorder, progress: LineProgress
) -> list[str]:
    """Every point of the grid; returns the row of what the harness took beside the requests."""
    session, points = WatchedSession(model.folder), grid_points(settings)
    step, start_s = progress.step(f"{model.name}: points of the grid"), time.perf_counter()
    for number, point in enumerate(points, start=1):
        progress.line(f"{model.name}: {point}")
        found = measure_latency(
            session, pack, settings, point, plain_rounds, footprint=model.footprint, progress=progress
        )
        recorder.record(model.name, found)
        step(number, len(points))
    wall_s, inside_s = time.perf_counter() - start_s, session.inside_s
    session.close()
    return [model.name, format_seconds(wall_s), format_seconds(inside_s), f"{1 - inside_s / wall_s:.1%}"]


def measure_process(
    model: Model, pack: DomainPack, settings: BenchmarkSettings, recorder: Recorder, log: Path, progress: LineProgress
) -> None:
    """Memory and processor use in a fresh process."""
    progress.line(f"{model.name}: memory and processor use")
    spec = genai_spec(model.folder, CPU)
    found = measure_pack_resources(spec, pack, lengths=settings.prompt_tokens, log=log, progress=progress)
    expected = Expected(
        cache_bytes_per_token=model.footprint.cache_bytes_per_token,
        is_invalid_if_disturbed=settings.disturbed == "invalid",
    )
    recorder.record(model.name, measured_resources(found, expected))


def overhead_tables(models: Sequence[Model], pack: DomainPack, costs: Sequence[list[str]], log: Path) -> list[str]:
    """What the harness takes beyond the runtime: time beside the requests, memory beside a bare process."""
    found = []
    if costs:
        heads = ["variant", "measuring the grid", "of it in requests", "the harness's own"]
        found.append(f"**Time of the harness**\n\n{table(heads, costs)}")
    rows = [memory_row(model, pack, log) for model in models]
    heads = ["variant", "bare process", "the gate's child", "the harness's own"]
    found.append(f"**Memory of the harness**, peak while {QUESTIONS} questions are answered\n\n{table(heads, rows)}")
    return found


def memory_row(model: Model, pack: DomainPack, log: Path) -> list[str]:
    """Peak of a process that holds onnxruntime-genai alone, beside the gate's measuring child."""
    asked, limit = conversations(pack, QUESTIONS), pack.domain.max_new_tokens
    bare = bare_peak_bytes(model.folder, asked, limit)
    ours = measure_pack_resources(genai_spec(model.folder, CPU), pack, lengths=(), log=log).peak_rss_bytes
    return [model.name, format_bytes(bare), format_bytes(ours), format_bytes(ours - bare)]


BARE: Final = """
import json, sys
import onnxruntime_genai as og
folder, limit, asked = sys.argv[1], int(sys.argv[2]), json.load(sys.stdin)
config = og.Config(folder)
config.clear_providers()
model = og.Model(config)
tokenizer = og.Tokenizer(model)
for messages in asked:
    prompt = tokenizer.encode(tokenizer.apply_chat_template(json.dumps(messages), add_generation_prompt=True))
    params = og.GeneratorParams(model)
    params.set_search_options(do_sample=False, max_length=len(prompt) + limit)
    generator = og.Generator(model, params)
    generator.append_tokens(prompt)
    stream = tokenizer.create_stream()
    while not generator.is_done():
        generator.generate_next_token()
        stream.decode(generator.get_next_tokens()[0])
    del generator
sys.stdout.write("done\\n")
sys.stdout.flush()
sys.stdin.close()
import time
time.sleep(60)
"""


def bare_peak_bytes(folder: Path, asked: Sequence[Sequence[Mapping[str, str]]], limit: int) -> int:
    """The same questions through the runtime's own example loop, in a process without any of the harness."""
    command = [sys.executable, "-c", BARE, str(folder), str(limit)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([[dict(turn) for turn in messages] for messages in asked]))
        process.stdin.close()
        if process.stdout.readline() != "done\n":
            sys.exit("the bare loop failed")
        peak = peak_of(process.pid)
        process.kill()
    return peak


def peak_of(pid: int) -> int:
    """High-water mark of another process, bytes: Linux tells it, elsewhere its memory of now stands for it."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        from harness.measure.children.process_memory import parse_vm_hwm

        return parse_vm_hwm(status.read_text(encoding="ascii", errors="replace"))
    return int(psutil.Process(pid).memory_info().rss)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return tabulate(rows, headers=list(heads), tablefmt="pipe", disable_numparse=True)


def about_machine() -> str:
    """One line: what these numbers are of."""
    memory = format_bytes(psutil.virtual_memory().total)
    return (
        f"{processor_name()}, {logical_cpus()} logical CPUs, {memory} of memory, {sys.platform}; {runtime_version()}."
    )


if __name__ == "__main__":
    main()
