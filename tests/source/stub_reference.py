"""Stands in for reference_worker.py: answers, refuses, fails, hangs or dies, as the request's text says."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

request = 0


def say(**reply):
    sys.stdout.write(json.dumps({"request": request, **reply}) + "\n")
    sys.stdout.flush()


def answer(messages):
    text = messages[0]["content"] if messages else ""
    if text == "refuse":
        return {"refused": "no"}
    return {"tokens": [1, 2], "text": text.upper(), "finish": "stop", "prompt_tokens": len(text)}


settings = json.loads(Path(sys.argv[1]).read_text())
if "broken" in settings["path"]:
    say(error="ValueError: cannot load")
    sys.exit(0)
say(ok={"context_length": 64, "end_ids": [2], "is_steppable": True})
for line in sys.stdin:
    job = json.loads(line)
    text, request = job.get("text", ""), job["request"]
    if text == "die":
        sys.stderr.write("last words\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    if text == "leave":
        sys.exit(3)
    if text == "hang":
        time.sleep(60)
    if text == "fail":
        say(error="RuntimeError: odd")
    elif job["op"] == "answers":
        say(step=[1, len(job["conversations"])])
        say(ok=[answer(messages) for messages in job["conversations"]])
    elif job["op"] == "logits":
        np.save(job["file"], np.ones((len(job["token_ids"]), 4), np.float32))
        say(ok=[1])
    else:
        say(ok=[7] if job["op"] == "encode" else "prompt")
