import json
from dataclasses import asdict
from pathlib import Path

import pytest

from harness.artifact.facts import ArtifactFacts
from harness.foundry.cache_route import CacheRouteAnswer, CacheRouteModel
from harness.measure.latency import LatencyRow
from harness.measure.latency_point import LatencyPoint
from harness.measure.wrong_answers import WrongAnswer, WrongAnswers
from harness.prompts.rendering import PromptDeviation
from harness.recipes.recipe import load_recipe
from harness.report.build import build_record
from harness.report.details import LoadRow, VariantDetails, details_of, read_details
from harness.report.jsonline import to_json
from harness.report.recorder import Recorder
from harness.serving.load_level import LoadLevel, LoadRequest
from harness.source.source import resolve_source
from harness.stats.estimate import Estimate
from harness.verify.fidelity import Fidelity
from harness.verify.tokenizer import CategoryCount

DEVIATION = PromptDeviation(conversation="q1", what="a newline is missing", cause="the engine")
ROOT = Path(__file__).resolve().parents[2]
FIDELITY = Fidelity(
    first_kld_nats=0.0, short_kld_nats=0.2, long_kld_nats=float("nan"), continued_kld_nats=1e-14, sequence_tokens=1024,
    base_kld_nats=None, base_from_source_nats=None,
)  # fmt: skip
GRAPH = json.loads((Path(__file__).parent / "data/run-of-version-1/run.json").read_text())
GRAPH = GRAPH["variants"]["int4"]["details"]["conversion"]["graph"]
EXAMPLES = {
    "conversion": {
        "recipe": {"name": "int4", "precision": "int4", "block_size": 32, "symmetric": True},
        "graph": GRAPH, "digest": "ab", "conversion_s": 0.2, "was_reused": False,
    },
    "fidelity": {"variant": FIDELITY, "no_reference_export": "none was made"},
    "tokenizer": {
        "file_differences": [], "split_controls": ["'<s>' is not the single token 1"], "refused": 0,
        "corpus": {"code": CategoryCount(differing=1, total=56)}, "causes": {"words": 1},
        "examples": [{"cause": "words", "shown": "'a'"}], "conversations": 40, "deviations": [DEVIATION],
    },
    "prompt_deviations": [DEVIATION],
    "prompting": {"faults": ["Foundry Local, q1: 3 prompt tokens in place of 4"], "remarks": []},
    "activations": {
        "accuracy_levels": [4], "texts": None,
        "answers": {name: Estimate.exact(0.5) for name in ("as_shipped", "weights_alone", "activations")},
    },
    "token_remarks": ["domain.toml: steps leave no room"],
    "exact_match_by_kind": {"code": Estimate.exact(0.5, n=4), "none": Estimate.missing()},
    "exact_match_by_padding_tokens": {0: Estimate.exact(1.0), 500: Estimate.exact(0.5)},
    "source_exact_match_by_padding_tokens": {0: Estimate.exact(1.0), 500: Estimate.exact(1.0)},
    "wrong_answers": WrongAnswers(
        answers=9, wrong=7,
        shown=(WrongAnswer(case_id="a", kind="k", asked="'?'", expected="'x'", said="'\ud800'", is_source_wrong=None),),
    ),
    "latency_grid": {
        "64+32 x4": LatencyRow(
            point=LatencyPoint(prompt_tokens=64, new_tokens=32, batch=4), rounds=20, warmup=4, attempts=1,
            first_e2e_s=0.5, precision=None, is_valid=False, remarks=("a hypervisor took 5%",),
            estimates={"ttft_p50_s": Estimate.exact(0.1)},
        )
    },
    "load": [
        LoadRow(clients=4, requests=8, errors=1, same=7, requests_per_second=120.0, tokens_per_second=None,
                ttft_p50_s=0.03, ttft_p95_s=0.05, itl_p50_s=float("inf"), itl_p95_s=None)
    ],
    "cache_route": {
        "release": "2.0.1", "name": "x", "is_listed": True, "is_loaded": True, "is_unloaded": True,
        "answers": [{"text": "\ud800", "finish_reason": "stop", "prompt_tokens": 3}],
    },
    "unread": {"a_former_table": [1, {"two": None}]},
}  # fmt: skip


def test_every_kind_of_details_has_an_example_here():
    assert set(EXAMPLES) == set(VariantDetails.model_fields)


@pytest.mark.parametrize("name", EXAMPLES)
def test_details_survive_the_disk(name):
    value = read_details(name, EXAMPLES[name])
    again = read_details(name, json.loads(to_json(value)))
    assert to_json(again) == to_json(value)  # which NaN does not disturb
    assert type(again) is type(value)


@pytest.mark.parametrize("name", ["int4", "int8", "fp16", "fp32"])
def test_every_recipe_can_be_kept(name):
    recipe = load_recipe(name).resolved((256,)).as_dict()
    found = read_details("conversion", {**EXAMPLES["conversion"], "recipe": recipe})
    assert json.loads(to_json(found.recipe)) == recipe


def test_every_level_of_load_can_be_kept():
    answered = LoadRequest(case_id="a", clients=2, is_same=True, pieces=3, ttft_s=0.1, e2e_s=0.3, itl_s=(0.1, 0.1))
    failed = LoadRequest(case_id="a", clients=2, error="busy")
    for requests in ((answered, failed), (failed,), ()):
        level = LoadLevel(clients=2, duration_s=1.0, requests=requests)
        (row,) = read_details("load", [level.summary()])
        assert (row.clients, row.requests, row.ttft_p50_s) == (2, len(requests), level.summary()["ttft_p50_s"])


def test_what_the_cache_route_came_to_can_be_kept():
    answer = CacheRouteAnswer(text="", finish_reason="", prompt_tokens=None, problem="too long")
    model = CacheRouteModel(name="x", is_listed=True, is_loaded=False, is_unloaded=False, answers=(answer,))
    assert read_details("cache_route", {"release": "2.0.1", **asdict(model)}).answers == (answer,)


def test_every_source_can_be_kept(tmp_path):
    source = resolve_source(str(ROOT / "fixtures/data/demo/model"))
    Recorder(tmp_path / "run", "main").run(model=source.as_dict())
    model = build_record(tmp_path / "run").model
    assert (model.spec, model.digest) == (source.spec, source.digest)


def test_details_are_what_they_were():
    assert isinstance(read_details("conversion", EXAMPLES["conversion"]).graph, ArtifactFacts)
    assert read_details("load", EXAMPLES["load"]) == tuple(EXAMPLES["load"])


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("fidelty", {}, "did you mean 'fidelity'"),
        ("fidelity", {"variant": FIDELITY, "rotary": 0.0}, "fidelity.rotary"),
        ("fidelity", {"variant": FIDELITY, "rotary_difference": "small"}, "fidelity.rotary_difference"),
        ("load", [{"clients": 1}], r"load\.0\.requests"),
    ],
)
def test_details_of_another_shape_are_an_error_where_they_are_written(name, value, told):
    with pytest.raises(ValueError, match=told):
        read_details(name, value)


def test_what_another_version_wrote_is_kept_as_it_stands():
    strange = {"cache_route": {"beamed_up": True}, "load": [], "a_former_table": [1]}
    found = details_of(strange)
    assert found.load == ()
    assert found.cache_route is None
    assert found.unread == {"cache_route": {"beamed_up": True}, "a_former_table": [1]}
    assert details_of(json.loads(to_json(found))) == found
