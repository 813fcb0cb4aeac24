"""The tables that a conversion ends with."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from harness.artifact.artifact import describe
from harness.artifact.inspect import inspect_artifact
from harness.errors import ConversionError
from harness.pipeline.outcome import Outcome
from harness.recipes.recipe import load_recipe
from harness.report.conversion_tables import outcome_table, remarks, settings_table
from harness.verify.compare_weights import WeightComparison
from harness.verify.fidelity import Fidelity, GraphFidelity, ReferenceExport
from harness.verify.probes import ProbeComparison, ProbeNoise
from tests.toys import write_artifact

FOUND = Fidelity(
    first_kld_nats=0.25,
    short_kld_nats=0.25,
    long_kld_nats=0.005,
    continued_kld_nats=1e-12,
    sequence_tokens=511,
    base_kld_nats=None,
    base_from_source_nats=None,
)
EXACT = replace(FOUND, first_kld_nats=1e-12, short_kld_nats=1e-12, long_kld_nats=2e-12)
SOURCE = SimpleNamespace(has_tied_embeddings=True, context_length=128, eos_token_ids=(2,))


@pytest.fixture
def int4(tmp_path):
    folder = write_artifact(tmp_path / "int4")
    made = {"conversion_s": 1.5, "peak_rss_bytes": 2**30}
    recipe = load_recipe("int4", block_size=32).resolved()
    return describe(folder, "int4", recipe, inspect_artifact(folder), made, was_reused=False)


def rows_of(table):
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in table.splitlines()]


def measured(int4, **options):
    weight_comparison = WeightComparison(rotary_difference=None, is_named_alike=False, differences=())
    reference_export = ReferenceExport(path=int4.path, found=EXACT, weight_comparison=weight_comparison)
    return GraphFidelity(**{"artifact": int4, "found": FOUND, "reference_export": reference_export, **options})


def test_a_row_has_all_that_a_user_wants_to_know(int4, tmp_path):
    outcomes = {
        "int4": Outcome(result=int4, fidelity=measured(int4), folder=tmp_path),
        "again": Outcome(result=replace(int4, was_reused=True), fidelity=measured(int4), folder=tmp_path),
        "int8": Outcome(result=ConversionError("no")),
    }
    header, _, row, again, failed = rows_of(outcome_table(outcomes))
    named = dict(zip(header, row, strict=True))
    assert named.pop("size").endswith("KiB")
    assert named == {
        "variant": "int4",
        "is": "int4",
        "B/weight": "0.625",
        "nats short": "0.250",
        "nats long": "5.00e-03",
        "converted in": "1.5 s",
        "peak memory": "1.0 GiB",
        "folder": str(tmp_path),
    }
    assert again[6] == "1.5 s (kept)"
    assert failed[:2] == ["int8", "FAILED"]


def test_columns_without_a_figure_are_left_out(int4):
    adopted = replace(int4, conversion_s=None, peak_rss_bytes=None)
    assert rows_of(outcome_table({"int4": Outcome(result=adopted)}))[0] == ["variant", "is", "size", "B/weight"]


def test_what_was_asked_stands_beside_what_is_there(int4):
    table = {row[0]: row[1:] for row in rows_of(settings_table([int4], SOURCE))}
    assert table["block size"] == ["32 (32)"]
    assert table["symmetric"] == ["yes (yes)"]
    assert table["accuracy level"] == ["4 (4)"]
    assert table["algorithm"] == ["(default)"]
    assert (table["output head"], table["embedding"]) == (["int4"], ["float32"])
    assert table["tied embeddings"] == ["no (yes)"]
    assert table["context"] == ["64 (128)"]
    assert table["end of sequence"] == ["2, 0 (2)"]


def test_of_an_adopted_folder_only_what_is_there_is_shown(int4):
    adopted = replace(int4, conversion_s=None, recipe=load_recipe("int4"))
    table = settings_table([adopted], None)
    assert "(" not in table
    assert "algorithm" not in table


def test_the_reference_export_is_told_once_and_the_base_for_each(int4):
    tuned = replace(FOUND, base_kld_nats=0.5, base_from_source_nats=0.4)
    outcomes = {
        name: Outcome(result=int4, fidelity=measured(replace(int4, variant=name), found=tuned)) for name in "ab"
    }
    reference_export, *bases = remarks(outcomes)
    assert "511 random tokens" in reference_export
    assert "1e-12 and 2e-12" in reference_export
    assert bases == [f"{name}: 0.13 nats from the fine-tuned model, 0.5 from its base" for name in "ab"]


def test_what_the_source_says_of_itself_comes_first_and_once(int4):
    source = SimpleNamespace(remarks=("answers may never end",))
    outcomes = {name: Outcome(result=int4) for name in "ab"}
    assert remarks(outcomes, source) == ["warning: answers may never end"]


def test_a_folder_whose_source_nobody_knows_is_warned_of_by_its_own_ends(int4):
    template = "{% for m in messages %}{{ m.content + '<end>' }}{% endfor %}"
    (int4.path / "chat_template.jinja").write_text(template)
    added = [{"id": 5, "content": "<end>"}]
    (int4.path / "tokenizer.json").write_text(json.dumps({"added_tokens": added}))
    (told,) = remarks({"int4": Outcome(result=int4)})
    assert told.startswith("warning: int4: answers may never end: the chat template closes a turn with '<end>' (5)")


def test_a_missing_reference_export_is_told(int4):
    found = measured(int4, reference_export=None, no_reference_export="Olive wrote no model")
    (told,) = remarks({"int4": Outcome(result=int4, fidelity=found)})
    assert told.startswith("int4: there is no fp32 reference export")
    assert told.endswith("Olive wrote no model")


def test_positions_that_cannot_be_compared_are_told_of_adopted_folders_only(int4):
    """The toy graph has no rotary tables, and no layers either."""
    adopted = replace(int4, conversion_s=None)
    _, positions, layers = remarks({"int4": Outcome(result=adopted, fidelity=measured(adopted))})
    assert "no rotary tables that could be compared" in positions
    assert "its weights were not compared with the source's one by one" in layers
    assert len(remarks({"int4": Outcome(result=int4, fidelity=measured(int4))})) == 1


def test_how_far_a_variant_was_looked_at_is_told(int4):
    probe = ProbeNoise(
        name="Thai", noise=0.2, worst_noise=0.5, worst_token=3, not_finite_token=None, is_reference_finite=True
    )
    comparison = ProbeComparison(probes=(probe,), tokens=4096, context_length=32_768)
    *_, told = remarks({"int4": Outcome(result=int4, fidelity=measured(int4, probe_comparison=comparison))})
    assert told == (
        "int4: compared with its fp32 reference export on 1 texts and as far as 4,096 tokens of its context of "
        "32,768; its logits are off by 0.2 of their spread at most"
    )
