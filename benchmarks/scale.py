"""Measures what checking a model costs by size, and what makes it cheap: `scale.py PART ...`.

Each part prints a Markdown table and writes it into docs/scale.md between its markers; progress goes to stderr. Times
are of this machine: run them while nothing else runs. Without a part, all are run, in the order of the list.

  equality     verified answers against generated ones
  sequential   error rates and cases of sequential stopping, by simulation
  sparse       the divergence from sparse reference rows against the dense one
  kills        kill -9 at random moments
  demo         rates of answers and logits against a plain loop, and a warm gate
  questions    quality and divergence at 0.5 B against a plain loop
  cold         the whole gate at 0.5 B, with an empty cache
  at-hand      the same with the source's answers at hand
  sizes        1.5 B and 3 B: convert, quality, divergence, latency, leaks, memory
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.pages import write_part  # noqa: E402
from benchmarks.scale_parts import (  # noqa: E402  # the script runs without an installation
    equality,
    gates,
    kills,
    loops,
    sequential,
    sparse,
)
from benchmarks.scale_parts.common import Table, say, workspace  # noqa: E402
from harness.metrics.units import format_seconds  # noqa: E402
from harness.system.paths import default_cache  # noqa: E402
from harness.toolchain.workspace import Workspace  # noqa: E402


def parts(place: Workspace, asked: argparse.Namespace) -> Mapping[str, Callable[[], Table]]:
    """Every part by its name, in the order in which they are run."""
    scratch = asked.scratch
    return {
        "equality": lambda: equality.measure(place, scratch),
        "sequential": sequential.measure,
        "sparse": lambda: sparse.measure(place),
        "kills": lambda: kills.measure(place, scratch / "kills", rounds=asked.rounds, variants=asked.variants),
        "demo": lambda: loops.measure_demo(place, scratch),
        "questions": lambda: loops.measure_questions(place, scratch, size=asked.size, sample=asked.sample),
        "cold": lambda: gates.measure_gate(
            place, scratch, size=asked.size, variants=asked.variants, is_cold=True, plan=asked.plan
        ),
        "at-hand": lambda: gates.measure_gate(
            place, scratch, size=asked.size, variants=asked.variants, is_cold=False, plan=asked.plan
        ),
        "sizes": lambda: gates.measure_sizes(place, scratch, sizes=asked.sizes.split(",")),
    }


def main() -> None:
    """Run the parts that are asked for, one after the other; the page is written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", help="parts to run (default: all)")
    parser.add_argument("--scratch", type=Path, default=default_cache() / "benchmarks", help="folder for models")
    parser.add_argument("--toolchain", type=Path, help="the conversion environment's Python")
    parser.add_argument("--size", default="0.5b", help="of `questions`, `cold`, `at-hand` (default: 0.5b)")
    parser.add_argument("--variants", default="int4,int8,fp16", help="of gates and `kills` (default: int4,int8,fp16)")
    parser.add_argument("--plan", default="", choices=("", "until-decided"), help="of `cold` and `at-hand`")
    parser.add_argument("--sizes", default="1.5b,3b", help="of `sizes` (default: 1.5b,3b)")
    parser.add_argument("--sample", type=int, default=40, help="questions that the plain loop of `questions` answers")
    parser.add_argument("--rounds", type=int, default=5, help="of `kills`, four kills each (default: 5)")
    asked = parser.parse_args()
    asked.scratch.mkdir(parents=True, exist_ok=True)
    known = parts(workspace(default_cache(), asked.toolchain), asked)
    for name in asked.part or known:
        if name not in known:
            parser.error(f"no part is called {name!r}: {', '.join(known)}")
    for name in asked.part or known:
        started_s = time.perf_counter()
        table = known[name]().markdown()
        say(f"{name}: done in {format_seconds(time.perf_counter() - started_s)}")
        print(f"## {name}\n\n{table}\n", flush=True)
        write_part("scale.md", name, table)


if __name__ == "__main__":
    main()
