"""One pipeline: each step once, in the order in which they need each other, and failures stay with their variant."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from harness.artifact import adopt as adopt_module
from harness.artifact.artifact import Artifact
from harness.config.settings import ModelSettings, VariantSettings
from harness.config.target import Target
from harness.errors import ArtifactError, ConfigError
from harness.pipeline import conversion as module
from harness.pipeline.conversion import ConversionPipeline, VariantRequest
from harness.recipes.recipe import load_recipe
from harness.source.reference_logits import ReferenceLogits
from harness.source.source import resolve_source
from harness.system.progress import LineProgress


class Seen:
    """Smoke tests that were made, and what `convert` and the source were asked for."""

    def __init__(self):
        self.folders, self.targets, self.recipes, self.asked = [], [], [], []


@pytest.fixture
def seen(monkeypatch):
    made = Seen()

    def smoke_test(folder, *, target, log):
        made.folders.append(folder)
        made.targets.append(target)
        return {"runtime": "1"}

    def convert(_source, recipes, _workspace, *, reference_logits, may_repeat):
        made.recipes.append((list(recipes), list(may_repeat), reference_logits))
        return {name: ArtifactError(f"{name} fails") for name in recipes}

    monkeypatch.setattr(adopt_module, "smoke_test", smoke_test)
    monkeypatch.setattr(module, "convert", convert)
    monkeypatch.setattr(ReferenceLogits, "ensure", lambda _self, *names: made.asked.append(names))
    return made


@pytest.fixture
def pipeline(toy_source, bare_workspace):
    def make(variants, *, is_known=True, **options):
        model = ModelSettings(source=str(toy_source)) if is_known else None
        return ConversionPipeline(model=model, variants=variants, workspace=bare_workspace, **options)

    return make


def to_convert(name="int4", **options):
    return VariantRequest(recipe=load_recipe(name, **options))


def to_adopt(folder, name="int4"):
    return VariantRequest(recipe=load_recipe(name), artifact=folder)


def test_variants_are_converted_together_with_a_reference_export_for_each_back_end(pipeline, seen):
    made = pipeline({"int4": to_convert(), "other": to_convert(backend="genai")})
    assert set(made.artifacts) == {
        "int4", "other", "fp32 reference export (olive)", "fp32 reference export (genai)"
    }  # fmt: skip
    assert made.artifacts is made.artifacts
    ((recipes, may_repeat, reference_logits),) = seen.recipes
    assert set(may_repeat) == set(recipes) - {"int4", "other"}
    assert reference_logits is made.reference_logits
    with pytest.raises(ArtifactError, match="int4 fails"):
        made.artifact("int4")


def test_without_fidelity_no_reference_export_is_made(pipeline, seen):
    made = pipeline({"int4": to_convert()}, has_fidelity=False)
    assert set(made.artifacts) == {"int4"}
    assert made.base is None


def test_an_adopted_folder_is_tested_once_and_is_given_a_reference_export(pipeline, seen, make_artifact):
    folder = make_artifact()
    made = pipeline({"mine": to_adopt(folder)})
    assert isinstance(made.artifact("mine"), Artifact)
    assert isinstance(made.artifact("mine"), Artifact)
    assert seen.folders == [folder]
    assert seen.recipes[0][0] == ["fp32 reference export (olive)"]


def test_an_adopted_folder_without_fidelity_needs_no_reference_export(pipeline, seen, make_artifact):
    made = pipeline({"mine": to_adopt(make_artifact())}, has_fidelity=False)
    assert isinstance(made.artifact("mine"), Artifact)
    assert len(seen.folders) == 1
    assert seen.recipes == []


@pytest.mark.parametrize("has_fidelity", [True, False])
def test_the_tokenizer_is_compared_with_fidelity_and_without(pipeline, seen, make_artifact, monkeypatch, has_fidelity):
    made = pipeline({"mine": to_adopt(make_artifact())}, has_fidelity=has_fidelity)
    monkeypatch.setattr(module, "compare_tokenizer", lambda artifact, logits, _workspace: (artifact, logits))
    assert made.tokenizer("mine") == (made.artifact("mine"), made.reference_logits)


def test_an_adopted_folder_of_unknown_source_needs_no_source_and_no_toolchain(pipeline, seen, make_artifact):
    made = pipeline({"mine": VariantRequest(recipe=None, artifact=make_artifact(bits=8))}, is_known=False)
    assert made.artifact("mine").recipe.precision == "int8"
    assert seen.recipes == []


def test_an_adopted_folder_that_is_not_what_was_asked_for_fails_alone(pipeline, seen, make_artifact):
    made = pipeline({"wrong": to_adopt(make_artifact("a"), "int8"), "right": to_adopt(make_artifact("b"))})
    assert isinstance(made.artifact("right"), Artifact)
    with pytest.raises(ArtifactError, match="asked int8"):
        made.artifact("wrong")


def test_nothing_is_converted_for_adopted_folders_that_failed(pipeline, seen, make_artifact):
    made = pipeline({"wrong": to_adopt(make_artifact(), "int8")})
    assert set(made.artifacts) == {"wrong"}
    assert seen.recipes == []


def test_the_source_is_asked_no_more_than_an_adopted_folder_takes(pipeline, seen, make_artifact, monkeypatch):
    facts = SimpleNamespace(context_length=20)
    monkeypatch.setattr(module, "adopt", lambda *_, **__: artifact_with(facts))
    made = pipeline({"mine": to_adopt(make_artifact())})
    assert len(made.reference_logits.sequence) == 19


def artifact_with(facts):
    options = dict.fromkeys(field for field in Artifact.__dataclass_fields__)
    return Artifact(**{**options, "facts": facts})


def test_a_source_that_is_resolved_already_is_taken_as_it_is(pipeline, seen, toy_source):
    source = resolve_source(str(toy_source))
    assert pipeline({}, resolved=source).source is source


def test_a_variant_of_gate_toml_becomes_a_request(tmp_path):
    adopted = VariantRequest.from_settings(
        VariantSettings(artifact=tmp_path, precision="int4", transformed=True, block_size=32)
    )
    assert (adopted.artifact, adopted.is_transformed, adopted.recipe.block_size) == (tmp_path, True, 32)
    with pytest.raises(ConfigError, match="neither a precision nor a file"):
        VariantRequest.from_settings(VariantSettings(recipe="int5"))


def test_a_target_that_cannot_be_used_is_told_before_anything_is_converted(pipeline, seen):
    request = to_convert(target=Target.of("CUDAExecutionProvider"))
    with pytest.raises(ConfigError, match=r"int4: CUDAExecutionProvider cannot be used: .* are not installed here"):
        pipeline({"int4": request})
    assert seen.recipes == []


def test_a_target_that_can_be_used_is_said_to_be_unverified(toy_source, bare_workspace, monkeypatch):
    lines = []
    monkeypatch.setattr(Target, "require_available", lambda _self, _variant: None)
    workspace = replace(bare_workspace, progress=LineProgress(lines.append))
    variants = {"int4": to_convert(target=Target.of("CUDAExecutionProvider")), "int8": to_convert("int8")}
    ConversionPipeline(model=ModelSettings(source=str(toy_source)), variants=variants, workspace=workspace)
    assert lines == ["int4: CUDAExecutionProvider is not verified: its verdicts may be wrong"]


def test_the_smoke_test_runs_on_the_variants_target(monkeypatch, pipeline, seen, make_artifact):
    monkeypatch.setattr(Target, "require_available", lambda _self, _variant: None)
    folder, target = make_artifact(), Target.of("CUDAExecutionProvider")
    request = VariantRequest(recipe=load_recipe("int4", target=target), artifact=folder)
    assert pipeline({"mine": request}).artifact("mine").target == target
    assert seen.targets == [target]
