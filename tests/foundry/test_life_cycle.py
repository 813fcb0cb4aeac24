"""What Foundry Local does with a model between its registration and its end, and when somebody is rude to it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import DeployError
from harness.foundry.host import FoundryHost, RegisteredModel
from harness.foundry.http_session import FoundryHttpSession
from harness.foundry.session import FoundrySession
from harness.runtime.session import Message

pytestmark = [pytest.mark.toolchain, pytest.mark.foundry]
QUESTION: list[Message] = [{"role": "user", "content": "What does E4 mean?"}]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FoundryHost]:
    with FoundryHost(tmp_path_factory.mktemp("foundry")) as host:
        yield host


@pytest.fixture
def copy(demo_artifact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(demo_artifact, tmp_path / "copy"))


def ask(host: FoundryHost, model: RegisteredModel) -> str:
    session = FoundryHttpSession(host.serve(), model.model_id, context_length=host.context_length(model))
    try:
        return session.answer(QUESTION, max_new_tokens=24).text
    finally:
        session.close()


def test_load_unload_and_reload_give_the_same_answer(host: FoundryHost, demo_artifact: Path) -> None:
    model = host.register(demo_artifact, "cycled")
    answers = set()
    for _ in range(3):
        host.load(model)
        host.load(model)
        answers.add(ask(host, model))
        host.unload(model)
        host.unload(model)
        assert not model.handle.is_loaded
    assert len(answers) == 1
    host.unregister(model)


def test_a_model_is_registered_once_and_may_come_again(host: FoundryHost, demo_artifact: Path) -> None:
    first = host.register(demo_artifact, "twice")
    with pytest.raises(DeployError, match="already registered"):
        host.register(demo_artifact, "twice")
    assert host.listed().count("twice:1") == 1
    host.unregister(first)
    host.unregister(host.register(demo_artifact, "twice"))
    assert "twice:1" not in host.listed()


def test_a_second_model_of_one_name_is_refused_and_the_first_serves_on(
    host: FoundryHost, demo_artifact: Path, copy: Path
) -> None:
    model = host.register(demo_artifact, "namesake")
    host.load(model)
    before = ask(host, model)
    with pytest.raises(DeployError, match="already registered"):
        host.register(copy, "namesake")
    assert ask(host, model) == before
    host.unregister(model)


def test_foundry_itself_refuses_a_second_one_and_unregistering_a_loaded_one(
    host: FoundryHost, demo_artifact: Path, copy: Path
) -> None:
    model = host.register(demo_artifact, "native")
    with pytest.raises(DeployError, match="already registered: native:1"):
        host._register(copy, "native:1")
    host.load(model)
    with pytest.raises(Exception, match="cannot unregister a loaded model"):
        host._catalog.unregister_model("native:1")
    assert model.handle.is_loaded
    host.unregister(model)


def test_unregistering_a_loaded_model_unloads_it_first(host: FoundryHost, demo_artifact: Path) -> None:
    model = host.register(demo_artifact, "in-use")
    session = FoundrySession(host, model)
    assert session.answer(QUESTION, max_new_tokens=4).completion_tokens
    host.unregister(model)
    assert "in-use:1" not in host.listed()
    session.close()


def test_a_folder_removed_underneath_is_served_until_it_is_let_go(host: FoundryHost, demo_artifact: Path) -> None:
    model = host.register(demo_artifact, "uprooted")
    host.load(model)
    before = ask(host, model)
    shutil.rmtree(model.folder)
    assert ask(host, model) == before
    assert "uprooted:1" not in host.listed()
    host.unload(model)
    with pytest.raises(DeployError, match="did not load uprooted:1: model not found at path"):
        host.load(model)
    host.unregister(model)


@pytest.mark.parametrize("file", ["model.onnx.data", "tokenizer.json", "model.onnx"])
def test_a_half_copied_model_is_refused_when_it_loads_and_the_next_one_is_served(
    host: FoundryHost, demo_artifact: Path, copy: Path, file: str
) -> None:
    content = (copy / file).read_bytes()
    (copy / file).write_bytes(content[: len(content) // 2])
    half = host.register(copy, "half")
    with pytest.raises(DeployError, match="did not load half:1") as refused:
        host.load(half)
    assert "fl::" not in refused.value.what
    host.unregister(half)
    whole = host.register(demo_artifact, "half")
    host.load(whole)
    assert ask(host, whole)
    host.unregister(whole)


def test_models_stay_loaded_over_a_restart_of_the_service(host: FoundryHost, demo_artifact: Path) -> None:
    model = host.register(demo_artifact, "restarted")
    host.load(model)
    before = ask(host, model)
    for _ in range(2):
        host.stop_serving()
        assert ask(host, model) == before
    host.unregister(model)


def test_two_models_are_served_side_by_side(host: FoundryHost, demo_artifacts: dict[str, object]) -> None:
    models = [host.register(demo_artifacts[name].path, f"beside-{name}") for name in ("int4", "int8")]  # type: ignore[attr-defined]
    for model in models:
        host.load(model)
    before = [ask(host, model) for model in models]
    host.unload(models[0])
    assert ask(host, models[1]) == before[1]
    host.load(models[0])
    assert ask(host, models[0]) == before[0]
    for model in models:
        host.unregister(model)
