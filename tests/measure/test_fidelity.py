"""A wrong graph is told from quantisation, and a base model from its fine-tune."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from harness.errors import ConversionError, MeasureError
from harness.measure import fidelity as module
from harness.measure.fidelity import (
    Fidelity,
    GraphFidelity,
    Witness,
    compare_with_evidence,
    convert_with_witnesses,
    measure_graph,
    require_fine_tune,
    require_same_function,
    witness_name,
)
from harness.model.likeness import Likeness
from harness.model.recipe import load_recipe

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


ALIKE = Likeness(rotary_difference=0.0, is_named_alike=True, differences=())
WITNESS = Witness(path=Path("witness"), found=EXACT, likeness=ALIKE)


def test_quantisation_loss_alone_passes():
    GraphFidelity(artifact=artifact(), found=INT4, witness=WITNESS).require()


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
        GraphFidelity(artifact=artifact(), found=INT4, witness=replace(WITNESS, found=wrong)).require()
    with pytest.raises(MeasureError, match=told):
        GraphFidelity(artifact=artifact(32), found=wrong, witness=None).require()


def test_the_limit_itself_passes():
    require_same_function(replace(EXACT, short_kld_nats=1e-6, long_kld_nats=1e-6), "here")


@pytest.mark.parametrize(
    ("continued", "is_healthy"), [(4e-3, True), (5e-3, False), (0.09, False), (float("nan"), False)]
)
def test_token_by_token_may_differ_little_whatever_quantisation_costs(continued, is_healthy):
    found = replace(INT4, continued_kld_nats=continued)
    measured = GraphFidelity(artifact=artifact(), found=found, witness=WITNESS)
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
    """What `measure_graph` asks of the evidence, with the fidelity of each artifact by name."""

    def __init__(self, **found):
        self.found, self.compared = found, []
        self.source = SimpleNamespace(path="source")

    def ensure(self, _toolchain, _notify):
        pass

    def tokens_file(self):
        return "tokens.json"


@pytest.fixture
def measure(monkeypatch, tmp_path):
    """`measure_graph` without models."""

    def run(made, witness, evidence, likeness=ALIKE):
        def looked_up(_open, one, evidence, cache):
            return evidence.found[one.variant]

        monkeypatch.setattr(module, "measure_fidelity", looked_up)
        monkeypatch.setattr(module, "measure_likeness", lambda *_, **__: likeness)
        monkeypatch.setattr(module, "prove", lambda path, log, tokens: evidence.compared.append((path, tokens)))
        return measure_graph(
            made, {witness_name("olive"): witness}, evidence, cache=tmp_path, toolchain=None, log=tmp_path / "log"
        )

    return run


def made_here(is_adopted=False):
    made = artifact()
    made.is_adopted = is_adopted
    return made


def witness_made():
    made = artifact(32)
    made.variant, made.path = "witness", WITNESS.path
    return made


def test_a_variant_is_measured_beside_its_witness(measure):
    evidence = Source(int4=INT4, witness=EXACT)
    found = measure(made_here(), witness_made(), evidence)
    assert (found.found, found.witness, found.no_witness) == (INT4, WITNESS, None)
    assert evidence.compared == []


def test_what_was_converted_elsewhere_must_have_the_sources_token_ids(measure):
    evidence = Source(int4=INT4, witness=EXACT)
    found = measure(made_here(is_adopted=True), witness_made(), evidence)
    assert evidence.compared == [("folder", "tokens.json")]
    assert found.witness == WITNESS


def test_no_witness_is_an_error_for_what_was_converted_here_only(measure):
    evidence, failed = Source(int4=INT4), ConversionError("Olive wrote no model")
    with pytest.raises(ConversionError, match="Olive wrote no model"):
        measure(made_here(), failed, evidence)
    found = measure(made_here(is_adopted=True), failed, evidence)
    found.require()
    assert found.as_dict()["witness"] is None
    assert found.as_dict()["no_witness"] == "Olive wrote no model"


def test_a_wrong_witness_says_nothing_against_what_was_converted_elsewhere(measure):
    evidence = Source(int4=INT4, witness=replace(EXACT, long_kld_nats=0.5))
    measure(made_here(is_adopted=True), witness_made(), evidence, replace(ALIKE, rotary_difference=0.9)).require()
    with pytest.raises(MeasureError, match="positions are encoded otherwise"):
        measure(made_here(), witness_made(), evidence).require()


def test_each_back_end_has_a_witness_that_may_be_what_was_asked_for(monkeypatch, tmp_path):
    asked = {}
    monkeypatch.setattr(module, "convert", lambda _source, recipes, **options: asked.update(options, recipes=recipes))
    evidence = SimpleNamespace(source=None)
    places = {"cache": tmp_path, "toolchain": None}
    recipes = {"int4": load_recipe("int4"), "other": load_recipe("int4", backend="genai")}
    convert_with_witnesses(evidence, recipes, **places)
    witnesses = {name: asked["recipes"][name] for name in map(witness_name, ("olive", "genai"))}
    assert all(recipe.precision == "fp32" for recipe in witnesses.values())
    assert [recipe.backend for recipe in witnesses.values()] == ["olive", "genai"]
    assert set(asked["may_repeat"]) == set(witnesses)
    assert set(asked["recipes"]) == {*recipes, *witnesses}
    convert_with_witnesses(evidence, {}, has_adopted=True, **places)
    assert set(asked["recipes"]) == {witness_name("olive")}
    convert_with_witnesses(evidence, {}, **places)
    assert asked["recipes"] == {}


def even(tokens):
    """Logits of a model of two tokens that has no preference."""
    return np.zeros((len(tokens), 2), np.float32)


def test_positions_are_compared_where_they_belong():
    """Worked by hand: two equal rows and one that says 3/4 against 1/2: 0.75 ln 1.5 + 0.25 ln 0.5 = 0.1308 nats."""
    source = np.log(np.array([[0.5, 0.5], [0.5, 0.5], [0.75, 0.25]], np.float32))
    rows = {None: source, "base": np.zeros((3, 2), np.float32)}
    evidence = SimpleNamespace(
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
    found = compare_with_evidence(session, evidence)
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
    evidence = SimpleNamespace(
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
    found = compare_with_evidence(session, evidence)
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
