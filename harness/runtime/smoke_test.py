"""Smoke test of an artifact: load it in a fresh process and generate one token.

The process is fresh because a broken graph may crash natively, and because nothing that is loaded already may help.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.config.target import CPU, Target
from harness.errors import ArtifactError, ChildError, first_line
from harness.runtime.genai import open_model
from harness.system.child import harness_module, run_job, serve_job
from harness.toolchain.toolchain import quiet_environment

_NEXT_STEPS = {
    "its tokenizer": "see that tokenizer.json and tokenizer_config.json are those of the source; if they are, this "
    "runtime does not know this kind of tokenizer",
    "its chat template": "the runtime's template engine knows less than Jinja: write the source's chat template "
    "without what is named here, and convert again",
}
_MESSAGES = [{"role": "user", "content": "Hello"}]


def smoke_test(folder: Path, *, target: Target = CPU, log: Path, timeout_s: float = 600.0) -> dict[str, Any]:
    """Load a model folder and generate one token; returns the runtime's version, the loading time and the token.

    Raises:
        ArtifactError: it does not load, crashes, renders no prompt, gives no token or no finite logits.
    """
    try:
        return run_job(
            harness_module("harness.runtime.smoke_test"),
            {"path": str(folder), "target": target.as_dict()},
            log=log,
            timeout_s=timeout_s,
            env=quiet_environment(),
        )
    except ChildError as error:
        raise ArtifactError(
            f"the runtime cannot use the model: {error.what}",
            where=f"{folder} ({error.where})" if error.where else str(folder),
            next_step=error.next_step
            or "convert the model again; if the error stays, the recipe does not suit the model",
        ) from error


def runtime_version() -> str:
    """Versions of onnxruntime-genai and of onnxruntime, whose kernels it runs, in this environment."""
    return f"{version('onnxruntime-genai')} on onnxruntime {version('onnxruntime')}"


def _probe(job: dict[str, Any]) -> dict[str, Any]:
    import time

    import onnxruntime_genai as og

    failures = (RuntimeError, ValueError, OSError)
    started_s = time.perf_counter()
    stage = "loading it"
    try:
        model = open_model(Path(job["path"]), Target(**job["target"]))
        load_s = time.perf_counter() - started_s
        stage = "its tokenizer"
        tokenizer = og.Tokenizer(model)
        stage = "its chat template"
        prompt = tokenizer.apply_chat_template(json.dumps(_MESSAGES), add_generation_prompt=True)
        token_ids = tokenizer.encode(prompt)
        stage = "one token"
        logits, token = _first_token(og, model, token_ids)
    except failures as error:
        raise ArtifactError(
            f"{stage} failed: {first_line(error)}", where=job["path"], next_step=_NEXT_STEPS.get(stage)
        ) from error
    _check_answer(logits, token, prompt, job["path"])
    return {"runtime": runtime_version(), "load_s": load_s, "prompt_tokens": len(token_ids), "first_token": token}


def _first_token(og: Any, model: Any, token_ids: Any) -> tuple[Any, int | None]:
    params = og.GeneratorParams(model)
    params.set_search_options(do_sample=False, max_length=len(token_ids) + 1, batch_size=1)
    generator = og.Generator(model, params)
    generator.append_tokens(token_ids)
    logits = generator.get_output("logits")
    generator.generate_next_token()
    tokens = generator.get_next_tokens()
    return logits, int(tokens[0]) if len(tokens) else None


def _check_answer(logits: Any, token: int | None, prompt: str, where: str) -> None:
    import numpy as np

    values = np.asarray(logits, dtype=np.float32)
    if _MESSAGES[0]["content"] not in prompt:
        raise ArtifactError("its chat template leaves the user's words out", where=where)
    if token is None or values.size == 0:
        raise ArtifactError("it gave no token", where=where)
    if not np.isfinite(values).all():
        share = 100 * (1 - np.isfinite(values).mean())
        raise ArtifactError(f"{share:.0f} % of its logits are NaN or infinite", where=where)
    if values[0, -1].max() == values[0, -1].min():
        raise ArtifactError("all its logits are equal", where=where)


if __name__ == "__main__":
    serve_job(_probe, sys.argv[-2:])
