"""A wrong graph is told from quantisation, and a base model from its fine-tune."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from harness.errors import ConversionError, MeasureError
from harness.recipes.recipe import load_recipe
from harness.verify import fidelity as module
from harness.verify.compare_weights import WeightComparison
from harness.verify.fidelity import (
    Fidelity,
    GraphFidelity,
    ReferenceExport,
    compare_with_reference_logits,
    convert_with_reference_exports,
    measure_graph,
    reference_export_name,
    require_fine_tune,
    require_same_function,
)

EXACT = Fidelity(
    first_kld_nats=1e-12,
    short_kld_nats=1e-12,
    long_kld_nats=2e-12,
    continued_kld_nats=1e-12,
    sequence_tokens=511,
    base_kld_nats=None,
    base_from_source_nats=None,
)
INT4 = replace(EXACT, first_kld_nats=0.1, short_kld_nats=0.1, long_kld_nats=0.1)


def artifact(bits=4):
    facts = SimpleNamespace(weights_per_bits={bits: 1}, model_file="model.onnx")
    recipe = SimpleNamespace(olive_config=None, backend="olive")
    return SimpleNamespace(variant="int4", path="folder", facts=facts, recipe=recipe, is_adopted=False)


ALIKE = WeightComparison(rotary_difference=0.0, is_named_alike=True, differences=())
EXPORT = ReferenceExport(path=Path("reference export"), found=EXACT, weight_comparison=ALIKE)


def test_quantisation_loss_alone_passes():
    GraphFidelity(artifact=artifact(), found=INT4, reference_export=EXPORT).require()


@pytest.mark.parametrize(
    ("first", "short", "long", "told"),
    [
        (1e-12, 1e-12, 1e-3, "positions are encoded otherwise"),
        (1e-12, 0.8, 2.0, "positions are encoded otherwise"),
        (0.5, 0.5, 0.5, "the graph is another one"),
        (1.1e-6, 1.1e-6, 1e-12, "the graph is another one"),
        (float("nan"), float("nan"), 1e-12, "nats from the source"),
    ],
)
def test_a_wrong_graph_is_refused_although_nothing_is_quantised(first, short, long, told):
    wrong = replace(EXACT, first_kld_nats=first, short_kld_nats=short, long_kld_nats=long)
    with pytest.raises(MeasureError, match=told):
        GraphFidelity(artifact=artifact(), found=INT4, reference_export=replace(EXPORT, found=wrong)).require()
    with pytest.raises(MeasureError, match=told):
        GraphFidelity(artifact=artifact(32), found=wrong, reference_export=None).require()


def test_the_limit_itself_passes():
    require_same_function(replace(EXACT, short_kld_nats=1e-6, long_kld_nats=1e-6), "here")


@pytest.mark.parametrize(
    ("continued", "is_healthy"), [(4e-3, True), (5e-3, False), (0.09, False), (float("nan"), False)]
)
def test_token_by_token_may_differ_little_whatever_quantisation_costs(continued, is_healthy):
    found = replace(INT4, continued_kld_nats=continued)
    measured = GraphFidelity(artifact=artifact(), found=found, reference_export=EXPORT)
    refused = pytest.raises(MeasureError, match="key-value cache is not carried on")
    with nullcontext() if is_healthy else refused:
        measured.require()


def test_an_unquantised_graph_must_continue_exactly():
    require_same_function(replace(EXACT, continued_kld_nats=1e-6), "here")
    with pytest.raises(MeasureError, match=r"token by token is 2\.0e-06 nats"):
        require_same_function(replace(EXACT, continued_kld_nats=2e-6), "here")


@pytest.mark.parametrize(
    ("own", "from_base", "between", "told"),
    [
        (0.3, 0.1, 0.2, "nearer to the base model"),
        (0.1, 0.1, 0.2, "nearer to the base model"),
        (0.1, 0.3, 0.0, "exactly what its base model says"),
        (0.1, float("nan"), 0.2, "nearer to the base model"),
    ],
)
def test_a_base_model_is_not_taken_for_its_fine_tune(own, from_base, between, told):
    found = replace(
        EXACT, short_kld_nats=own, long_kld_nats=own, base_kld_nats=from_base, base_from_source_nats=between
    )
    with pytest.raises(MeasureError, match=told):
        require_fine_tune(found, artifact())


def test_a_fine_tune_passes():
    require_fine_tune(replace(INT4, base_kld_nats=0.4, base_from_source_nats=0.3), artifact())
    require_fine_tune(INT4, artifact())  # without a base nothing can be said


class Source:
    """What `measure_graph` asks of the reference_logits, with the fidelity of each artifact by name."""

    def __init__(self, **found):
        self.found, self.compared = found, []
        self.source = SimpleNamespace(path="source")

    def ensure(self, _toolchain, _progress):
        pass

    def tokens_file(self):
        return "tokens.json"


@pytest.fixture
def measure(monkeypatch, tmp_path):
    """`measure_graph` without models."""

    def run(made, reference_export, reference_logits, weight_comparison=ALIKE):
        def looked_up(_open, one, reference_logits, cache):
            return reference_logits.found[one.variant]

        monkeypatch.setattr(module, "measure_fidelity", looked_up)
        monkeypatch.setattr(module, "compare_weights", lambda *_, **__: weight_comparison)
        monkeypatch.setattr(
            module, "smoke_test", lambda path, log, tokens: reference_logits.compared.append((path, tokens))
        )
        return measure_graph(
            made,
            {reference_export_name("olive"): reference_export},
            reference_logits,
            cache=tmp_path,
            toolchain=None,
            log=tmp_path / "log",
        )

    return run


def made_here(is_adopted=False):
    made = artifact()
    made.is_adopted = is_adopted
    return made


def export_made():
    made = artifact(32)
    made.variant, made.path = "reference_export", EXPORT.path
    return made


def test_a_variant_is_measured_beside_its_reference_export(measure):
    reference_logits = Source(int4=INT4, reference_export=EXACT)
    found = measure(made_here(), export_made(), reference_logits)
    assert (found.found, found.reference_export, found.no_reference_export) == (INT4, EXPORT, None)
    assert reference_logits.compared == []


def test_what_was_converted_elsewhere_must_have_the_sources_token_ids(measure):
    reference_logits = Source(int4=INT4, reference_export=EXACT)
    found = measure(made_here(is_adopted=True), export_made(), reference_logits)
    assert reference_logits.compared == [("folder", "tokens.json")]
    assert found.reference_export == EXPORT


def test_no_reference_export_is_an_error_for_what_was_converted_here_only(measure):
    reference_logits, failed = Source(int4=INT4), ConversionError("Olive wrote no model")
    with pytest.raises(ConversionError, match="Olive wrote no model"):
        measure(made_here(), failed, reference_logits)
    found = measure(made_here(is_adopted=True), failed, reference_logits)
    found.require()
    assert found.as_dict()["reference_export"] is None
    assert found.as_dict()["no_reference_export"] == "Olive wrote no model"


def test_a_wrong_reference_export_says_nothing_against_what_was_converted_elsewhere(measure):
    reference_logits = Source(int4=INT4, reference_export=replace(EXACT, long_kld_nats=0.5))
    measure(
        made_here(is_adopted=True), export_made(), reference_logits, replace(ALIKE, rotary_difference=0.9)
    ).require()
    with pytest.raises(MeasureError, match="positions are encoded otherwise"):
        measure(made_here(), export_made(), reference_logits).require()


def test_each_back_end_has_a_reference_export_that_may_be_what_was_asked_for(monkeypatch, tmp_path):
    asked = {}
    monkeypatch.setattr(module, "convert", lambda _source, recipes, **options: asked.update(options, recipes=recipes))
    reference_logits = SimpleNamespace(source=None)
    places = {"cache": tmp_path, "toolchain": None}
    recipes = {"int4": load_recipe("int4"), "other": load_recipe("int4", backend="genai")}
    convert_with_reference_exports(reference_logits, recipes, **places)
    reference_exports = {name: asked["recipes"][name] for name in map(reference_export_name, ("olive", "genai"))}
    assert all(recipe.precision == "fp32" for recipe in reference_exports.values())
    assert [recipe.backend for recipe in reference_exports.values()] == ["olive", "genai"]
    assert set(asked["may_repeat"]) == set(reference_exports)
    assert set(asked["recipes"]) == {*recipes, *reference_exports}
    convert_with_reference_exports(reference_logits, {}, has_adopted=True, **places)
    assert set(asked["recipes"]) == {reference_export_name("olive")}
    convert_with_reference_exports(reference_logits, {}, **places)
    assert asked["recipes"] == {}


def even(tokens):
    """Logits of a model of two tokens that has no preference."""
    return np.zeros((len(tokens), 2), np.float32)


def test_positions_are_compared_where_they_belong():
    """Worked by hand: two equal rows and one that says 3/4 against 1/2: 0.75 ln 1.5 + 0.25 ln 0.5 = 0.1308 nats."""
    source = np.log(np.array([[0.5, 0.5], [0.5, 0.5], [0.75, 0.25]], np.float32))
    rows = {None: source, "base": np.zeros((3, 2), np.float32)}
    reference_logits = SimpleNamespace(
        sequence=(0,) * 5,
        positions=(0, 1, 4),
        short_count=2,
        answer_start=2,
        answer_tokens=12,
        logits=lambda name=None: rows[name],
    )
    session = SimpleNamespace(
        name="int4", logits=even, continued=lambda tokens, count: ([0] * count, even([0] * count))
    )
    found = compare_with_reference_logits(session, reference_logits)
    assert found.first_kld_nats == found.short_kld_nats == 0
    assert found.long_kld_nats == pytest.approx(0.1308, abs=1e-4)
    assert found.base_kld_nats == 0
    assert found.base_from_source_nats == pytest.approx(0.1308 / 3, abs=1e-4)
    assert found.continued_kld_nats == 0


def test_the_first_positions_are_asked_without_what_follows(monkeypatch):
    """Worked by hand: a model that says 3/4 against 1/2 whenever it is given more than two tokens."""
    monkeypatch.setattr(module, "_continued_kld", lambda *_: 0.0)
    same, odd = np.log([0.5, 0.5]), np.log([0.75, 0.25])
    source = np.array([same, same, odd], np.float32)
    reference_logits = SimpleNamespace(
        sequence=(0,) * 5,
        positions=(0, 1, 4),
        short_count=2,
        answer_start=2,
        answer_tokens=12,
        logits=lambda name=None: {None: source}.get(name),
    )
    session = SimpleNamespace(
        name="int4", logits=lambda tokens: np.array([odd if len(tokens) > 2 else same] * len(tokens), np.float32)
    )
    found = compare_with_reference_logits(session, reference_logits)
    assert found.short_kld_nats == 0
    assert found.long_kld_nats == 0


def test_an_answer_is_held_against_one_prefill_of_its_tokens_behind_its_first_half():
    """Worked by hand: 1/2 in one prefill against 3/4 is 0.5 ln (2/3) + 0.5 ln 2 = 0.1438 nats; barred tokens count not."""
    lowest = np.finfo(np.float32).min
    rows = np.tile(np.log(np.array([0.75, 0.25, 1e-9], np.float32)), (12, 1))
    rows[:, 2] = lowest

    def prefilled(tokens):
        assert list(tokens) == [7, 8, *range(11)]
        return np.tile(np.array([0, 0, 50], np.float32), (13, 1))

    session = SimpleNamespace(name="int4", logits=prefilled, continued=lambda tokens, count: (list(range(count)), rows))
    assert module._continued_kld(session, (7, 8), 12) == pytest.approx(0.1438, abs=1e-4)
    rows[:6] = 99  # before the change
    assert module._continued_kld(session, (7, 8), 12) == pytest.approx(0.1438, abs=1e-4)
