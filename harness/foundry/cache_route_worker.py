"""Serves model folders the way of Foundry Local's cache folder; runs in an environment with a release that has it.

`python cache_route_worker.py JOB_FILE RESULT_FILE`, nothing of the gate imported. The folders lie under the model
cache, each with `inference_model.json`; the release looks for them after its catalog has answered, so a catalog of
this process's own answers with an empty page.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

EMPTY_PAGE = {"indexEntitiesResponse": {"totalCount": 0, "value": [], "nextSkip": None, "continuationToken": None}}


class _Catalog(BaseHTTPRequestHandler):
    """Answers every query with an empty page."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.do_GET()

    def do_GET(self) -> None:
        body = json.dumps(EMPTY_PAGE).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def empty_catalog() -> Iterator[str]:
    """Serve an empty catalog on loopback; yields its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Catalog)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def work(job: dict[str, Any]) -> dict[str, Any]:
    """List the models of the job's cache folder; load, ask over HTTP and unload each that it names."""
    # In CI Foundry sends no telemetry; what it calls non-essential, and can be told to leave, is not all of it.
    os.environ.update(CI="1", ORT_DISABLE_TELEMETRY="1", XDG_CACHE_HOME=str(Path(job["home"], "cache-home")))
    sdk = _sdk()
    with empty_catalog() as address:
        sdk.FoundryLocalManager.initialize(
            sdk.Configuration(
                "slm-gate",
                app_data_dir=str(Path(job["home"], "app-data")),
                model_cache_dir=job["cache"],
                logs_dir=str(Path(job["home"], "logs")),
                catalog_urls=[(address, None)],
                web=sdk.Configuration.WebService(urls="http://127.0.0.1:0"),
                disable_nonessential_telemetry=True,
            )
        )
        manager: Any = sdk.FoundryLocalManager.instance
        try:
            return {"release": metadata.version("foundry-local-sdk"), **_served(manager, job)}
        finally:
            manager.close()


def _served(manager: Any, job: dict[str, Any]) -> dict[str, Any]:
    catalog = manager.catalog if hasattr(manager, "catalog") else manager.get_catalog()
    models = {str(model.id): model for model in catalog.get_cached_models()}
    wanted = {name: model for name, model in models.items() if name.rpartition(":")[0] in job["names"]}
    if wanted:
        manager.start_web_service()
    return {"listed": sorted(models), "served": {name: _serve(manager, wanted[name], job) for name in sorted(wanted)}}


def _serve(manager: Any, model: Any, job: dict[str, Any]) -> dict[str, Any]:
    try:
        model.load()
    except _sdk_errors() as error:
        return {"loaded": False, "problem": str(error).splitlines()[0]}
    url = f"{manager.urls[0].rstrip('/')}/v1/chat/completions"
    answers = [_ask(url, str(model.id), messages, job["max_new_tokens"]) for messages in job["conversations"]]
    model.unload()
    return {"loaded": True, "answers": answers, "unloaded": not model.is_loaded}


def _ask(url: str, model_id: str, messages: list[dict[str, str]], max_new_tokens: int) -> dict[str, Any]:
    request = {"model": model_id, "messages": messages, "max_tokens": max_new_tokens, "temperature": 0}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    post = urllib.request.Request(url, json.dumps(request).encode(), {"Content-Type": "application/json"})
    try:
        with opener.open(post, timeout=300) as response:
            said = json.loads(response.read())
    except urllib.error.HTTPError as error:
        return {"status": error.code, "problem": error.read().decode(errors="replace")[:500]}
    choice, usage = said["choices"][0], said.get("usage") or {}
    return {
        "status": 200,
        "text": choice["message"].get("content") or "",
        "finish_reason": choice.get("finish_reason"),
        "prompt_tokens": usage.get("prompt_tokens"),
    }


def _sdk_errors() -> tuple[type[Exception], ...]:
    """What the release raises when it refuses something."""
    return (_sdk().FoundryLocalException, RuntimeError, ValueError)


def _sdk() -> Any:
    """The release of this environment, which is not the gate's."""
    return importlib.import_module("foundry_local_sdk")


if __name__ == "__main__":
    job_file, result_file = map(Path, sys.argv[1:])
    result_file.write_text(json.dumps(work(json.loads(job_file.read_text(encoding="utf-8")))), encoding="utf-8")
