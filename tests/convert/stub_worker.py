"""Stands in for olive_worker.py: does to each variant what the file `script.json` beside the job's log says."""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path


def act(name, variant, script):
    work = Path(variant["work"])
    (work / "started").touch()
    deed = script[name]
    sys.stdout.write(f"@progress {name}\n")
    sys.stdout.flush()
    end_s = time.monotonic() + 20
    while deed.get("after") and not list(Path(deed["after"]).glob("*/manifest.json")):
        assert time.monotonic() < end_s, "nothing was kept in the meantime"
        time.sleep(0.02)
    Path(variant["log"]).write_text(deed.get("log", ""))
    if deed.get("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    folders = []
    if "folder" in deed:
        folders = [str(work / "out")]
        shutil.copytree(deed["folder"], folders[0])
        (work / "out" / "footprint.json").write_text("{}")
    outcome = {"folders": folders, "error": deed.get("error"), "conversion_s": 1.0, "peak_rss_bytes": 5}
    (work / "result.json.part").write_text(json.dumps(outcome))
    (work / "result.json.part").replace(work / "result.json")  # read by others as soon as it is there


job = json.loads(Path(sys.argv[1]).read_text())
script_file = Path(os.environ["STUB_SCRIPT"])
script = json.loads(script_file.read_text())
with Path(f"{script_file}.runs").open("a") as runs:
    runs.write(",".join(job["variants"]) + "\n")
for part in job["reference_logits"]:
    if "reference_logits" in script:
        Path(f"{part['file']}.error").write_text(script["reference_logits"])
        continue
    Path(part["file"]).write_text(json.dumps({"texts": part["texts"], "ids": [[0] for _ in part["texts"]]}))
for variant_name, variant in job["variants"].items():
    act(variant_name, variant, script)
Path(sys.argv[2]).write_text("{}")
