"""What the gate's session costs: its times against a bare loop over onnxruntime-genai, request by request in one run.

    python benchmarks/overhead.py                     # the demo's variants
    python benchmarks/overhead.py FOLDER              # another converted model
    python benchmarks/overhead.py --write             # and into docs/regression.md

Run it on a machine with nothing else to do. Both sides use the same loaded model, so that nothing but the loop differs.
The bare loop renders, tokenises, generates and decodes as onnxruntime-genai's examples do, and reads the clock once a
token; it checks nothing. The goal: our rates within 1 %.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the script runs without an installation

from tabulate import tabulate  # noqa: E402

from benchmarks.pages import write_part  # noqa: E402
from benchmarks.regression import demo_work  # noqa: E402
from harness.checks.check import Check, Outcome  # noqa: E402
from harness.config.regression_limits import ratio_limits  # noqa: E402
from harness.config.settings import ModelSettings  # noqa: E402
from harness.config.variants import parse_variants  # noqa: E402
from harness.errors import GateError  # noqa: E402
from harness.pipeline.conversion import ConversionPipeline, VariantRequest  # noqa: E402
from harness.pipeline.request import DEFAULT_VARIANTS  # noqa: E402
from harness.regression.arm import Arm, Work  # noqa: E402
from harness.regression.comparing import compare  # noqa: E402
from harness.regression.interleaved import Interleaved  # noqa: E402
from harness.runtime.genai import GenaiSession  # noqa: E402
from harness.runtime.session import Answer, Message, TokenTimeline  # noqa: E402
from harness.system.paths import default_cache  # noqa: E402
from harness.system.progress import LineProgress  # noqa: E402
from harness.toolchain.workspace import Workspace  # noqa: E402

GOAL = 0.01
WORDS = {Outcome.PASS: "reached", Outcome.FAIL: "MISSED", Outcome.INCONCLUSIVE: "undecided", Outcome.NO_DATA: "no data"}


class Shared(GenaiSession):
    """The gate's session, kept loaded."""

    def close(self) -> None:
        """Keep it."""


class BareLoop(Shared):
    """The loop of the runtime's examples over the model of a session."""

    def __init__(self, session: GenaiSession) -> None:
        vars(self).update(vars(session))

    def answer(self, messages: Sequence[Message], *, max_new_tokens: int, min_new_tokens: int = 0) -> Answer:
        """As short as it can be."""
        og, model, tokenizer = self._og, self._model, self._tokenizer
        start_s = time.perf_counter()
        prompt = tokenizer.encode(tokenizer.apply_chat_template(json.dumps(messages), add_generation_prompt=True))
        params = og.GeneratorParams(model)
        count = len(prompt)
        params.set_search_options(
            do_sample=False, max_length=count + max_new_tokens, min_length=count + min_new_tokens, batch_size=1
        )
        generator = og.Generator(model, params)
        stream = tokenizer.create_stream()
        text, token_s = "", []
        generator.append_tokens(prompt)
        while not generator.is_done():
            generator.generate_next_token()
            text += stream.decode(generator.get_next_tokens()[0])
            token_s.append(time.perf_counter())
        timeline = TokenTimeline(start_s=start_s, token_s=tuple(token_s), prompt_tokens=count)
        return Answer(text=text, token_ids=None, finish_reason="length", timeline=timeline)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="*", type=Path, help="converted models (default: the demo's three variants)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of measuring for each (default: 30)")
    parser.add_argument("--write", action="store_true", help="write the table into docs/regression.md")
    given = parser.parse_args()
    folders = {folder.name: folder for folder in given.folder} or demo_variants()
    rows: list[list[Any]] = []
    for name, folder in folders.items():
        rows += [[name, *row] for row in overhead(folder, demo_work(), given.seconds)]
    heads = ["model", "time", "ours to the bare loop's", "interval", "within 1 %"]
    text = tabulate(rows, headers=heads, tablefmt="pipe", disable_numparse=True)
    print(text)
    if given.write:
        write_part("regression.md", "overhead", text)


def demo_variants() -> dict[str, Path]:
    """Folders of the demo's variants, from the cache or converted."""
    settings = parse_variants(DEFAULT_VARIANTS)
    pipeline = ConversionPipeline(
        model=ModelSettings(source=str(ROOT / "fixtures/data/demo/model")),
        variants={name: VariantRequest.from_settings(one) for name, one in settings.items()},
        workspace=Workspace.open(default_cache(), progress=LineProgress(print)),
        has_fidelity=False,
    )
    folders = {}
    for name in settings:
        made = pipeline.artifacts[name]
        if isinstance(made, GateError):
            sys.exit(str(made))
        folders[name] = made.path
    return folders


def overhead(folder: Path, work: Work, seconds: float) -> list[list[str]]:
    """A row for each time that is compared."""
    ours = Shared(folder)
    bare = BareLoop(ours)
    sides = Interleaved(
        baseline=Arm(name="bare loop", open=lambda: bare), candidate=Arm(name="session", open=lambda: ours), work=work
    )
    progress = LineProgress(lambda line: print(f"  … {line}", flush=True))
    found = compare(sides, tolerance=GOAL, budget_s=seconds, progress=progress)
    return [row(check) for check in found.checks("session", ratio_limits(GOAL))]


def row(check: Check) -> list[str]:
    """Metric, ratio, interval, outcome."""
    value, low, high = check.estimate.value, check.estimate.low, check.estimate.high
    shown = ["?" if one is None else f"{100 * (one - 1):+.2f} %" for one in (value, low, high)]
    return [f"`{check.metric}`", shown[0], f"{shown[1]} to {shown[2]}", WORDS[check.outcome]]


if __name__ == "__main__":
    main()
