"""Foundry Local itself, on a converted model; every claim about it is one that was seen to fail when planted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.artifact.genai_config import set_target
from harness.config.target import CPU, Target
from harness.errors import DeployError, InvalidPromptError, SessionError
from harness.foundry.host import FoundryHost, RegisteredModel
from harness.foundry.opening import foundry_spec
from harness.foundry.session import FoundrySession
from harness.prompts.prompt_template import render_chat_template
from harness.runtime.genai import GenaiSession
from harness.runtime.session import Message, Session
from harness.system.paths import REPOSITORY

QUESTIONS = [
    "What does E4 mean?",
    "The washing machine shows F1.",
    "Error code H2, what now?",
    "hello",
    "Is coffee healthy?",
    "my dryer smells burnt and shows nothing",
    "  padded  ",
    "ÄÖÜ ☕ 漢字",
    "{Content} <|im_end|> {{ 7 * 7 }}",
    "why? " * 40,
]


def ask(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("a home with spaces")


# One Foundry Local is allowed in a process, so every test of this file shares it.
pytestmark = [pytest.mark.toolchain, pytest.mark.foundry]


@pytest.fixture(scope="module")
def host(home: Path) -> Iterator[FoundryHost]:
    with FoundryHost(home) as host:
        yield host


@pytest.fixture
def model(host: FoundryHost, demo_artifact: Path) -> Iterator[RegisteredModel]:
    model = host.register(demo_artifact, "demo-int4")
    yield model
    if model.model_id in host.listed():
        host.unregister(model)


@pytest.fixture
def session(host: FoundryHost, model: RegisteredModel) -> Iterator[FoundrySession]:
    session = FoundrySession(host, model)
    yield session
    session.close()


@pytest.fixture
def bare(demo_artifact: Path) -> Iterator[GenaiSession]:
    session = GenaiSession(demo_artifact)
    yield session
    session.close()


@pytest.fixture
def damaged(demo_artifact: Path, tmp_path: Path) -> Path:
    """A copy of the artifact that a test may break."""
    return Path(shutil.copytree(demo_artifact, tmp_path / "damaged"))


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_registered_model_is_listed_until_it_is_unregistered(host: FoundryHost, demo_artifact: Path) -> None:
    before = host.listed()
    model = host.register(demo_artifact, "once")
    assert model.model_id == "once:1"
    assert set(host.listed()) == {*before, "once:1"}
    host.unregister(model)
    assert host.listed() == before
    assert not model.folder.exists()
    with pytest.raises(DeployError, match="not registered"):
        host.unregister(model)


def test_registering_leaves_the_artifact_as_it_was(host: FoundryHost, demo_artifact: Path) -> None:
    before = contents(demo_artifact)
    model = host.register(demo_artifact, "untouched")
    described = json.loads((model.folder / "inference_model.json").read_text(encoding="utf-8"))
    assert described["Name"] == "untouched"
    assert described.get("PromptTemplate") == model.prompt_template
    host.unregister(model)
    assert contents(demo_artifact) == before


def test_the_files_are_linked_not_copied(model: RegisteredModel, demo_artifact: Path) -> None:
    config = "genai_config.json"
    if (demo_artifact.stat().st_dev, os.name) != (model.folder.stat().st_dev, "posix"):
        pytest.skip("hard links need one file system")
    assert (model.folder / config).samefile(demo_artifact / config)


def test_a_name_is_given_once(host: FoundryHost, model: RegisteredModel, demo_artifact: Path) -> None:
    with pytest.raises(DeployError, match="already registered"):
        host.register(demo_artifact, model.alias)
    assert host.listed().count(model.model_id) == 1


def test_foundry_must_run_it_where_the_target_says(host: FoundryHost, damaged: Path) -> None:
    """It obeys genai_config.json: an artifact may have been built for another accelerator."""
    set_target(damaged, Target.of("CUDAExecutionProvider"))
    with pytest.raises(DeployError, match=r"would run it on cuda, .* the variant's target is CPUExecutionProvider"):
        host.register(damaged, "elsewhere")
    spec = foundry_spec(damaged, CPU, alias="elsewhere", home=host.home)
    assert spec["target"] == CPU.as_dict()


@pytest.mark.parametrize("alias", ["", "a b", "a/b", "../x", "Ü", "-x", "x:1", "x" * 121])
def test_a_name_that_foundry_would_not_take_is_refused(host: FoundryHost, demo_artifact: Path, alias: str) -> None:
    with pytest.raises(DeployError, match="cannot be the name"):
        host.register(demo_artifact, alias)


@pytest.mark.parametrize("question", QUESTIONS)
def test_it_answers_as_the_bare_runtime_does(session: Session, bare: GenaiSession, question: str) -> None:
    served, expected = (runtime.answer(ask(question), max_new_tokens=64) for runtime in (session, bare))
    assert served.text == expected.text
    assert served.finish_reason == expected.finish_reason
    assert served.timeline.prompt_tokens == expected.timeline.prompt_tokens


def test_it_answers_conversations_as_the_bare_runtime_does(session: Session, bare: GenaiSession) -> None:
    dialogue = [{"role": "system", "content": "Be brief."}, *ask("E4?")]
    dialogue += [{"role": "assistant", "content": "The pump."}, *ask("And F1?")]
    assert session.answer(dialogue, max_new_tokens=48).text == bare.answer(dialogue, max_new_tokens=48).text


def test_a_request_does_not_remember_the_one_before(session: Session) -> None:
    first = session.answer(ask("What does E4 mean?"), max_new_tokens=32)
    session.answer(ask("hello"), max_new_tokens=32)
    again = session.answer(ask("What does E4 mean?"), max_new_tokens=32)
    assert (again.text, again.timeline.prompt_tokens) == (first.text, first.timeline.prompt_tokens)


def test_its_chat_template_is_the_one_rendered_here(bare: GenaiSession, demo_artifact: Path) -> None:
    dialogue = [*ask("E4?"), {"role": "assistant", "content": "The pump."}, *ask("And F1?")]
    for messages in (ask("hello"), [{"role": "system", "content": "Be brief."}, *dialogue], dialogue):
        assert render_chat_template(demo_artifact, messages) == bare.render(messages)


def test_a_timeline_has_a_time_for_every_piece(session: Session) -> None:
    timeline = session.answer(ask("hello"), max_new_tokens=8).timeline
    assert 0 < len(timeline.token_s) <= 8
    assert timeline.start_s < timeline.token_s[0]
    assert list(timeline.token_s) == sorted(timeline.token_s)
    assert timeline.prompt_tokens


@pytest.mark.parametrize("bad", ["", "word " * 9000, "a\0b", "\ud800"], ids=["empty", "over", "nul", "surrogate"])
def test_a_refused_prompt_leaves_the_session_serving(session: Session, bad: str) -> None:
    before = session.answer(ask("hello"), max_new_tokens=16).text
    with pytest.raises(InvalidPromptError):
        session.answer(ask(bad), max_new_tokens=16)
    assert session.answer(ask("hello"), max_new_tokens=16).text == before


def test_roles_and_turns_that_are_no_conversation_are_refused(session: Session) -> None:
    for messages in ([{"role": "tool", "content": "x"}], [{"role": "user"}], [{"content": "x"}], []):
        with pytest.raises(InvalidPromptError):
            session.answer(messages, max_new_tokens=4)
    with pytest.raises(SessionError, match="0 tokens"):
        session.answer(ask("hello"), max_new_tokens=0)


def test_an_answer_longer_than_the_context_is_cut_there(session: Session, bare: GenaiSession) -> None:
    prompt = "hi " * 200
    while bare.context_length - len(bare.encode(bare.render(ask(prompt)))) > 400:
        prompt += "hi " * 100
    answer = session.answer(ask(prompt), max_new_tokens=bare.context_length)
    assert answer.text == bare.answer(ask(prompt), max_new_tokens=bare.context_length).text


def test_sampling_settings_in_the_artifact_do_not_make_it_sample(host: FoundryHost, damaged: Path) -> None:
    config = json.loads((damaged / "genai_config.json").read_text(encoding="utf-8"))
    config["search"] |= {"do_sample": True, "temperature": 1.9, "top_k": 0, "top_p": 1.0}
    (damaged / "genai_config.json").write_text(json.dumps(config), encoding="utf-8")
    model = host.register(damaged, "sampling")
    session = FoundrySession(host, model)
    assert len({session.answer(ask("hello there"), max_new_tokens=24).text for _ in range(5)}) == 1
    session.close()
    host.unregister(model)


def test_a_closed_session_has_given_the_model_back(host: FoundryHost, model: RegisteredModel) -> None:
    session = FoundrySession(host, model)
    assert model.handle.is_loaded
    session.close()
    session.close()
    assert not model.handle.is_loaded
    with pytest.raises(SessionError, match="closed"):
        session.answer(ask("hello"), max_new_tokens=4)
    again = FoundrySession(host, model)
    assert again.answer(ask("hello"), max_new_tokens=4).timeline.token_s
    again.close()


@pytest.mark.parametrize("missing", ["genai_config.json", "model.onnx", "tokenizer.json"])
def test_a_folder_without_a_file_is_not_registered(
    host: FoundryHost, demo_artifact: Path, damaged: Path, missing: str
) -> None:
    (damaged / missing).unlink()
    before = host.listed()
    with pytest.raises(DeployError) as refused:
        host.register(damaged, "broken")
    assert missing in str(refused.value)
    assert host.listed() == before
    host.unregister(host.register(demo_artifact, "broken"))  # the name is free again


@pytest.mark.parametrize("content", [b"", b"not a graph", b"{"])
def test_a_damaged_graph_is_refused_when_it_loads(host: FoundryHost, damaged: Path, content: bytes) -> None:
    (damaged / "model.onnx").write_bytes(content)
    model = host.register(damaged, "damaged-graph")
    with pytest.raises(DeployError, match="did not load damaged-graph:1: ") as refused:
        FoundrySession(host, model)
    assert "fl::" not in refused.value.what
    host.unregister(model)


def test_a_user_template_that_disagrees_is_not_registered(host: FoundryHost, demo_artifact: Path) -> None:
    template = {"user": "U:{Content}\n", "assistant": "A:{Content}\n", "prompt": "U:{Content}\nA:"}
    with pytest.raises(DeployError, match="does not say what the chat template says: a single question"):
        host.register(demo_artifact, "own-template", prompt_template=template)
    assert "own-template:1" not in host.listed()


def test_a_shipped_template_that_disagrees_is_reported_and_not_passed_on(host: FoundryHost, damaged: Path) -> None:
    wrong = {"user": "U:{Content}\n", "assistant": "A:{Content}\n", "prompt": "U:{Content}\nA:"}
    (damaged / "inference_model.json").write_text(json.dumps({"PromptTemplate": wrong}), encoding="utf-8")
    model = host.register(damaged, "shipped")
    assert model.prompt_template is None
    assert model.prompt_template_problem is not None
    assert "single question" in model.prompt_template_problem
    host.unregister(model)


class Forgetful:
    """Foundry's catalog, which lists nothing, or lists for ever."""

    def __init__(self, catalog: Any, listed: list[Any]) -> None:
        self._catalog = catalog
        self._listed = listed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._catalog, name)

    def get_cached_models(self) -> list[Any]:
        return self._listed


def test_a_registration_that_is_not_listed_is_an_error(
    host: FoundryHost, demo_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as planted:
        planted.setattr(host, "_catalog", Forgetful(host._catalog, []))
        with pytest.raises(DeployError, match="does not list it"):
            host.register(demo_artifact, "unlisted")
    assert "unlisted:1" not in host.listed()
    host.unregister(host.register(demo_artifact, "unlisted"))


def test_a_model_that_stays_listed_is_an_error(
    host: FoundryHost, demo_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = host.register(demo_artifact, "clinging")
    with monkeypatch.context() as planted:
        planted.setattr(host, "_catalog", Forgetful(host._catalog, [SimpleNamespace(id="clinging:1")]))
        with pytest.raises(DeployError, match="still lists clinging:1"):
            host.unregister(model)
    assert "clinging:1" not in host.listed()


def test_a_load_that_did_nothing_is_an_error(host: FoundryHost, model: RegisteredModel) -> None:
    idle = SimpleNamespace(load=lambda: None, is_loaded=False)
    with pytest.raises(DeployError, match="yet does not hold it"):
        FoundrySession(host, dataclasses.replace(model, handle=idle))


def test_a_second_host_in_the_process_is_refused(host: FoundryHost, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="already has a Foundry Local open"):
        FoundryHost(tmp_path)
    assert host.listed() is not None


def run_script(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    bootstrap = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
    command = [sys.executable, "-c", bootstrap + textwrap.dedent(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_hosts_may_follow_one_another_and_start_empty(demo_artifact: Path, tmp_path: Path) -> None:
    done = run_script(
        """
        from pathlib import Path
        from harness.foundry.host import FoundryHost
        for _ in range(3):
            with FoundryHost(Path(sys.argv[2])) as host:
                assert host.listed() == (), host.listed()
                host.load(host.register(Path(sys.argv[1]), "left-registered"))
        """,
        demo_artifact,
        tmp_path / "home",
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "home").glob("host-*")] == []


def test_a_killed_process_leaves_nothing_that_lasts(demo_artifact: Path, tmp_path: Path) -> None:
    script = """
        import os, signal
        from pathlib import Path
        from harness.foundry.host import FoundryHost
        host = FoundryHost(Path(sys.argv[2]))
        host.register(Path(sys.argv[1]), "orphan")
        os._exit(9)
        """
    assert run_script(script, demo_artifact, tmp_path).returncode == 9
    assert len(list(tmp_path.glob("host-*/"))) == 1
    assert run_script(script.replace("os._exit(9)", "host.close()"), demo_artifact, tmp_path).returncode == 0
    assert list(tmp_path.glob("host-*")) == []


def test_two_processes_may_share_a_home(host: FoundryHost, model: RegisteredModel, demo_artifact: Path) -> None:
    done = run_script(
        """
        from harness.foundry.session import open_foundry_session
        spec = {"runtime": "foundry", "path": sys.argv[1], "alias": "demo-int4", "home": sys.argv[2]}
        session = open_foundry_session(spec)
        print(session.answer([{"role": "user", "content": "hello"}], max_new_tokens=8).finish_reason)
        session.close()
        """,
        demo_artifact,
        host.home,
    )
    assert (done.returncode, done.stdout.strip() in {"stop", "length"}) == (0, True), done.stderr
    assert model.folder.exists()
    assert model.model_id in host.listed()


@pytest.mark.parametrize("first", ["foundry", "genai"])
def test_both_runtimes_live_in_one_process(first: str, demo_artifact: Path, tmp_path: Path) -> None:
    done = run_script(
        """
        from pathlib import Path
        from harness.foundry.session import open_foundry_session
        from harness.runtime.genai import GenaiSession
        path, home, first = sys.argv[1:]
        makers = {
            "foundry": lambda: open_foundry_session({"path": path, "home": home}),
            "genai": lambda: GenaiSession(Path(path)),
        }
        for _ in range(2):
            sessions = [makers[name]() for name in sorted(makers, key=lambda name: name != first)]
            for number in range(12):
                question = [{"role": "user", "content": f"question {number}"}]
                one, other = (session.answer(question, max_new_tokens=24).text for session in sessions)
                assert one == other, (one, other)
            for session in sessions:
                session.close()
        left_open = [makers[name]() for name in makers]
        """,
        demo_artifact,
        tmp_path,
        first,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("host-*/")) == []


def test_it_works_without_a_user_folder_and_writes_only_under_its_home(demo_artifact: Path, tmp_path: Path) -> None:
    outside = tmp_path / "user"
    outside.mkdir()
    script = """
        import os
        os.environ.update(HOME=sys.argv[3], USERPROFILE=sys.argv[3], LOCALAPPDATA=sys.argv[3])
        os.environ.pop("XDG_CACHE_HOME", None)
        from harness.foundry.session import open_foundry_session
        session = open_foundry_session({"path": sys.argv[1], "home": sys.argv[2]})
        session.answer([{"role": "user", "content": "hello"}], max_new_tokens=8)
        session.close()
        assert "XDG_CACHE_HOME" not in os.environ
        """
    done = run_script(script, demo_artifact, tmp_path / "home", outside)
    assert done.returncode == 0, done.stderr
    if sys.platform == "linux":
        assert list(outside.rglob("*")) == []


def test_the_log_that_errors_point_to_is_there(damaged: Path, tmp_path: Path) -> None:
    (damaged / "model.onnx").write_bytes(b"")
    done = run_script(
        """
        from pathlib import Path
        from harness.foundry.host import FoundryHost
        from harness.errors import DeployError
        with FoundryHost(Path(sys.argv[2])) as host:
            try:
                host.load(host.register(Path(sys.argv[1]), "logged"))
            except DeployError as error:
                assert str(host.logs) in str(error), error
                print(host.logs)
        """,
        damaged,
        tmp_path / "home",
    )
    logs = Path(done.stdout.strip())
    assert logs.is_dir(), done.stderr
    assert any("logged:1" in log.read_text(encoding="utf-8") for log in logs.iterdir())


def test_a_home_that_cannot_be_used_is_an_error_of_ours(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    done = run_script(
        """
        from pathlib import Path
        from harness.foundry.host import FoundryHost
        from harness.errors import DeployError
        try:
            FoundryHost(Path(sys.argv[1]))
        except DeployError as error:
            print(error)
        """,
        blocked / "home",
    )
    assert "home cannot be used" in done.stdout, done.stderr


def test_a_session_that_cannot_be_opened_leaves_no_host_behind(tmp_path: Path) -> None:
    done = run_script(
        """
        from harness.errors import DeployError
        from harness.foundry.session import open_foundry_session
        for _ in range(2):
            try:
                open_foundry_session({"path": sys.argv[1], "home": sys.argv[1]})
            except DeployError as error:
                print(error.what)
        """,
        tmp_path,
    )
    assert done.stdout.count("no onnxruntime-genai model") == 2, done.stderr
    assert list(tmp_path.glob("host-*")) == []
