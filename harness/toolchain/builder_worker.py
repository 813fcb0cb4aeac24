"""Runs the model builder of any release of onnxruntime-genai, amended, and reports its peak memory.

`python builder_worker.py PEAK_FILE BUILDER_SCRIPT ARGUMENT...`, in the toolchain. The builder belongs to the release
that serves; its modules import each other by bare names, so its folder comes first.
"""

import importlib
import runpy
import sys
from pathlib import Path


def main(peak_file: str, script: str, *arguments: str) -> None:
    """Run the builder, then write its peak memory in bytes (0 if the system does not report it)."""
    worker, amendments = (
        runpy.run_path(str(Path(__file__).with_name(name))) for name in ("olive_worker.py", "amendments.py")
    )
    worker["die_with_parent"]()
    sys.path.insert(0, str(Path(script).parent))
    sys.argv = [script, *arguments]
    with amendments["amended"](importlib.import_module("builders")):
        runpy.run_path(script, run_name="__main__")
    Path(peak_file).write_text(str(worker["peak_rss_bytes"]() or 0), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
