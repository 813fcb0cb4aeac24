"""Whether the cache folder of another release, or the `foundry` command, serves the variant too."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from harness.errors import DeployError
from harness.foundry.cache_route import ensure_release, serve_from_cache
from harness.foundry.command import command_difference, require_command
from harness.measure.asking import ask_all
from harness.measure.criteria import without_differences
from harness.metrics.measurement import Measured
from harness.pack.choose import conversations_by_case
from harness.pack.schema import DomainPack
from harness.runtime.session import Session
from harness.serving.same_answers import text_of
from harness.toolchain.workspace import Workspace

_METRIC = "cache_route_serves_model"
_QUESTIONS = 4


def measure_cache_route(
    route: str | None,
    artifact: Path,
    bare: Session,
    pack: DomainPack,
    *,
    alias: str,
    home: Path,
    workspace: Workspace,
) -> Measured:
    """Put the artifact into a model cache and see it listed, loaded, answering as the bare runtime does, and unloaded.

    Args:
        route: a foundry-local-sdk release (`2.0.1`), or `command` for the `foundry` command on PATH.
        artifact: the variant's folder.
        bare: the variant in onnxruntime-genai.
        pack: where the questions are.
        alias: the name that the variant gets.
        home: where the model cache is made.
        workspace: holds the release's environment.

    Raises:
        DeployError: no route is named, the artifact is incomplete, or the command fails.
        ToolchainError: the release's environment cannot be made.
        ChildError: the release died, hung or could not be started.
    """
    if route is None:
        raise DeployError("no release is named", where="gate.toml, [foundry] cache_route")
    if route == "command":
        return _by_command(artifact, bare, pack, alias, home / "models")
    questions = list(conversations_by_case(pack, _QUESTIONS).values())
    limit = pack.domain.max_new_tokens
    found = serve_from_cache(
        {alias: artifact},
        questions,
        python=ensure_release(workspace, route),
        home=home,
        log=workspace.log(f"cache-route-{alias}"),
        max_new_tokens=limit,
        progress=workspace.progress,
    )[alias]
    difference = found.difference([text_of(said) for said in ask_all(bare, questions, max_new_tokens=limit)])
    return Measured(
        measurement=without_differences(_METRIC, [difference] if difference else []),
        details={"cache_route": {"release": route, **asdict(found)}},
    )


def _by_command(artifact: Path, bare: Session, pack: DomainPack, alias: str, cache: Path) -> Measured:
    command = require_command()
    question = pack.cases[0].messages[-1].content
    said = bare.answer([{"role": "user", "content": question}], max_new_tokens=pack.domain.max_new_tokens).text
    difference = command_difference(command, artifact, alias, question, said, cache=cache)
    return Measured(measurement=without_differences(_METRIC, [difference] if difference else []))
