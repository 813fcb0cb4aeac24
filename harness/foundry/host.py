"""A Foundry Local of the gate's own: private folders, no network, nothing left behind.

Foundry Local is one per process by its own rule, and it remembers registrations on disk. So a `FoundryHost` makes
itself a new folder under its home each time, holds a lock on it, and removes it; what a killed process left there
the next host removes.
"""

from __future__ import annotations

import atexit
import re
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from harness.artifact.genai_config import read_settings, stated_providers
from harness.config.target import CPU, Target
from harness.errors import ArtifactError, DeployError, GateError
from harness.foundry import sdk as foundry_sdk
from harness.foundry.home import OwnFolder, refusing_socket
from harness.foundry.sdk import reason
from harness.foundry.staging import stage
from harness.prompts.prompt_template import choose_prompt_template, write_inference_model
from harness.system.progress import SILENT, Progress

_ALIAS: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
"""What Foundry Local takes for the name in `name:version`."""

_UNLOAD_GRACE_S: Final = 5.0
"""How long a model may stay in use after the last client has gone."""

_open_host: FoundryHost | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredModel:
    """A model that Foundry Local lists."""

    alias: str
    """The name it was registered under: `demo-int4`."""

    model_id: str
    """Foundry's own name for it: `demo-int4:1`."""

    folder: Path
    """The files that Foundry serves: hard links to the artifact's, and `inference_model.json`."""

    artifact: Path
    """The folder that was registered; nothing was written into it."""

    prompt_template: Mapping[str, str] | None
    """`PromptTemplate` of `inference_model.json`; None where the chat template cannot be written as one."""

    prompt_template_problem: str | None
    """Why there is no `prompt_template`; Foundry Local 0.x and 1.x would prompt this model wrongly."""

    host: FoundryHost = field(repr=False, compare=False)
    """Where it is registered."""

    handle: Any = field(repr=False, compare=False)
    """Foundry's own model object."""


class FoundryHost:
    """Foundry Local inside this process, with folders of its own under `home`.

    A context manager. One can be open in a process at a time; after `close` another may follow.

    Raises:
        DeployError: a host is open already, or Foundry Local does not start.
    """

    def __init__(self, home: Path, *, progress: Progress = SILENT) -> None:
        global _open_host
        if _open_host is not None:
            raise DeployError(
                "this process already has a Foundry Local open; it allows one in a process",
                where=str(_open_host.home),
                next_step="close that host first, or open this one in a child process",
            )
        self.home: Path = home.resolve()
        self.logs = self.home / "logs"
        self._progress = progress
        self._models: dict[str, RegisteredModel] = {}
        self._folder = OwnFolder(self.home)
        self._nowhere = refusing_socket()
        try:
            self._manager, self._catalog = foundry_sdk.start(self._folder.path, self.logs, self._catalog_url())
        except BaseException:
            self._give_back()
            raise
        _open_host = self
        atexit.register(self.close)

    def register(
        self,
        folder: Path,
        alias: str,
        *,
        target: Target = CPU,
        prompt_template: Mapping[str, str] | None = None,
    ) -> RegisteredModel:
        """Register an artifact under `alias`, with an `inference_model.json` beside it, and see it listed.

        `target` is where it must run; Foundry runs it where the folder's genai_config.json says. `prompt_template` is
        the user's own; without it, one is derived from the chat template where it can be.

        Raises:
            DeployError: the name is unusable or taken, the folder is no complete model, the user's prompt
                template and the chat template disagree, Foundry would run it elsewhere than on the target, or does not
                list it.
        """
        self._require_free(alias)
        _require_target(folder, target)
        template, problem = choose_prompt_template(folder, prompt_template)
        if problem:
            self._progress.line(f"{alias}: inference_model.json without PromptTemplate: {problem}")
        staged = self._folder.path / "models" / alias
        stage(folder, staged, lambda staging: write_inference_model(staging, alias, prompt_template=template))
        try:
            handle = self._register(staged, f"{alias}:1")
        except BaseException:
            self._forget(f"{alias}:1")
            shutil.rmtree(staged, ignore_errors=True)
            raise
        model = RegisteredModel(
            alias=alias,
            model_id=f"{alias}:1",
            folder=staged,
            artifact=folder,
            prompt_template=template,
            prompt_template_problem=problem,
            host=self,
            handle=handle,
        )
        self._models[alias] = model
        return model

    def listed(self) -> tuple[str, ...]:
        """The ids of the models that Foundry Local's local catalog offers, sorted.

        Raises:
            DeployError: Foundry does not answer, or the host is closed.
        """
        with foundry_sdk.raising(self._failure("did not list its models")):
            return tuple(sorted(str(model.id) for model in self._catalog.get_cached_models()))

    def load(self, model: RegisteredModel) -> None:
        """Load a registered model into memory; a loaded one stays as it is.

        Raises:
            DeployError: Foundry refused to load it.
        """
        with foundry_sdk.raising(self._failure(f"did not load {model.model_id}", str(model.artifact))):
            model.handle.load()
            loaded = bool(model.handle.is_loaded)
        if not loaded:
            raise DeployError(
                f"Foundry Local loaded {model.model_id} without an error, yet does not hold it",
                where=str(model.artifact),
                next_step=f"read the log in {self.logs}",
            )

    def context_length(self, model: RegisteredModel) -> int:
        """Prompt and answer together, in tokens, as Foundry knows it.

        Raises:
            DeployError: it does not know, and so would bound no request.
        """
        with foundry_sdk.raising(self._failure(f"did not describe {model.model_id}")):
            length = model.handle.context_length
        if not length:
            raise DeployError(
                "Foundry Local does not know the model's context length",
                where=str(model.artifact),
                next_step="see that genai_config.json has model.context_length",
            )
        return int(length)

    def unload(self, model: RegisteredModel) -> None:
        """Give the model's memory back; nothing happens to one that is not loaded.

        A request whose client has hung up ends a moment later; it is waited for.

        Raises:
            DeployError: Foundry refused to unload it.
        """
        until_s = time.monotonic() + _UNLOAD_GRACE_S
        with foundry_sdk.raising(self._failure(f"did not unload {model.model_id}")):
            while model.handle.is_loaded:
                try:
                    model.handle.unload()
                except foundry_sdk.load_sdk().FoundryLocalException as error:
                    if foundry_sdk.IN_USE not in str(error) or time.monotonic() > until_s:
                        raise
                    time.sleep(0.05)

    def serve(self) -> str:
        """Start Foundry's web service on loopback unless it runs; return where an OpenAI client finds the models.

        Raises:
            DeployError: it does not start.
        """
        with foundry_sdk.raising(self._failure("did not start its web service")):
            if not self._manager.urls:
                self._manager.start_web_service()
            return f"{str(self._manager.urls[0]).rstrip('/')}{foundry_sdk.LOCAL_CATALOG_PATH}"

    def stop_serving(self) -> None:
        """Stop the web service; nothing happens where none runs. The next one may get another port.

        Raises:
            DeployError: it does not stop.
        """
        with foundry_sdk.raising(self._failure("did not stop its web service")):
            if self._manager.urls:
                self._manager.stop_web_service()

    def unregister(self, model: RegisteredModel) -> None:
        """Unload the model, take it off the list, and remove the folder it was served from.

        Raises:
            DeployError: it is not registered here, or Foundry still lists it afterwards.
        """
        if self._models.get(model.alias) is not model:
            raise DeployError(f"{model.model_id} is not registered here", where=str(self.home))
        self.unload(model)
        with foundry_sdk.raising(self._failure(f"did not unregister {model.model_id}")):
            self._catalog.unregister_model(model.model_id)
        del self._models[model.alias]
        shutil.rmtree(model.folder, ignore_errors=True)
        if model.model_id in self.listed():
            raise DeployError(
                f"Foundry Local still lists {model.model_id} after it was unregistered",
                where=str(self.home),
                next_step=f"read the log in {self.logs}",
            )

    def close(self) -> None:
        """Unregister every model, stop Foundry Local and remove its folders; a second call does nothing."""
        global _open_host
        if _open_host is not self:
            return
        atexit.unregister(self.close)
        try:
            for model in tuple(self._models.values()):
                self._give_up(model)
            self._manager.close()
        finally:
            _open_host = None
            self._give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _register(self, staged: Path, model_id: str) -> Any:
        sdk = foundry_sdk.load_sdk()
        with foundry_sdk.raising(self._failure(f"did not register {model_id}", str(staged))):
            about = sdk.ModelInfoBuilder().set_string_property("task", "chat-completion")
            handle = self._catalog.register_model(str(staged), model_id, about)
        if model_id not in self.listed():
            raise DeployError(
                f"Foundry Local registered {model_id} without an error, yet does not list it",
                where=str(staged),
                next_step=f"read the log in {self.logs}",
            )
        return handle

    def _require_free(self, alias: str) -> None:
        if not is_alias(alias):
            raise DeployError(
                f"{alias!r} cannot be the name of a model in Foundry Local",
                next_step="use up to 120 letters, digits, dots, dashes and underscores, a letter or digit first",
            )
        if alias in self._models:
            raise DeployError(
                f"a model is already registered as {alias!r}",
                where=str(self._models[alias].artifact),
                next_step="unregister that one first, or register this one under another name",
            )

    def _forget(self, model_id: str) -> None:
        """Take back whatever a failed registration left in the catalog."""
        with suppress(DeployError), foundry_sdk.raising(self._failure(f"did not unregister {model_id}")):
            self._catalog.unregister_model(model_id)

    def _give_up(self, model: RegisteredModel) -> None:
        try:
            self.unregister(model)
        except DeployError as error:
            self._progress.line(f"{model.model_id} was not given back cleanly: {error.what}")

    def _failure(self, what: str, where: str | None = None) -> foundry_sdk.MakeError:
        def make(error: BaseException) -> GateError:
            return DeployError(
                f"Foundry Local {what}: {reason(error)}",
                where=where or str(self.home),
                next_step=f"read the log in {self.logs}",
            )

        return make

    def _catalog_url(self) -> str:
        port = self._nowhere.getsockname()[1]
        return f"http://127.0.0.1:{port}/asset-gallery/v1.0/models"

    def _give_back(self) -> None:
        self._nowhere.close()
        self._folder.remove()


def is_alias(name: str) -> bool:
    """Whether Foundry Local takes a name for a model's."""
    return _ALIAS.fullmatch(name) is not None


def _require_target(folder: Path, target: Target) -> None:
    try:
        providers = stated_providers(read_settings(folder))
    except ArtifactError:
        return  # staging says what is wrong with it
    if not target.matches(providers):
        raise DeployError(
            f"Foundry Local would run it on {', '.join(providers) or 'CPU'}, as its genai_config.json asks; "
            f"the variant's target is {target.provider}",
            where=str(folder),
            next_step=f"set provider_options of its session_options to {target.provider_options}",
        )
