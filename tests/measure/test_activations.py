"""The two parts of a quantised variant's divergence, of the demo model as it is converted."""

import json
from dataclasses import replace

import pytest

from harness.measure.activations import ActivationCost, measure_activation_cost
from harness.measure.reference_scores import score_reference
from harness.pack.load import load_pack
from harness.report.details import read_details
from harness.report.jsonline import to_json
from harness.report.table import activation_table
from harness.runtime.genai import GenaiSession
from harness.system.progress import SILENT
from harness.toolchain.workspace import Workspace
from tests.conftest import ROOT
from tests.report.runs import end, start

pytestmark = pytest.mark.toolchain


@pytest.fixture(scope="module")
def pack():
    whole = load_pack(ROOT / "fixtures/data/demo/pack")
    return whole.model_copy(update={"cases": whole.cases[:6], "texts": whole.texts[:3]})


@pytest.fixture(scope="module")
def fp16(demo_artifacts):
    """Stands for the source model: it only rounds."""
    session = GenaiSession(demo_artifacts["fp16"].path, name="fp16")
    yield session
    session.close()


@pytest.fixture(scope="module")
def reference(fp16, pack):
    prompts = {case.id: fp16.render(pack.conversation(case.messages)) for case in pack.cases}
    answers = {
        case.id: (tuple(fp16.encode(prompts[case.id])), tuple(fp16.encode(json.dumps(case.expected))))
        for case in pack.cases
    }
    return score_reference(fp16, pack, answers)


@pytest.fixture
def cost_of(demo_artifacts, reference, tmp_path, toolchain_on_demand):
    def measure(artifact):
        workspace = Workspace(cache=tmp_path, toolchain=toolchain_on_demand)
        session = GenaiSession(artifact.path, name=artifact.variant)
        try:
            return measure_activation_cost(session, artifact, reference, workspace, SILENT).details.get("activations")
        finally:
            session.close()

    return measure


def test_int8_owes_more_to_its_activations_and_int4_to_its_weights(cost_of, demo_artifacts, tmp_path):
    """FACTS of the demo: of int8's divergence 60 % and more come from activations, of int4's next to nothing."""
    shares = {}
    for variant in ("int8", "int4"):
        parts = cost_of(demo_artifacts[variant])["texts"]
        shipped, weights, rest = (parts[name]["value"] for name in ("as_shipped", "weights_alone", "activations"))
        assert shipped == pytest.approx(weights + rest)
        shares[variant] = rest / shipped
    assert shares["int8"] > 0.4
    assert abs(shares["int4"]) < 0.2
    assert not any((tmp_path / "exact_activations").iterdir())


def test_what_does_not_round_activations_has_no_parts(cost_of, demo_artifacts):
    assert cost_of(demo_artifacts["fp16"]) is None


def test_a_copy_that_cannot_run_is_told_and_no_error(cost_of, demo_artifacts, tmp_path):
    made = demo_artifacts["int8"]
    broken = replace(made, facts=replace(made.facts, model_file="other.onnx"))
    assert "other.onnx" in cost_of(broken)["problem"]


def test_the_parts_stand_in_a_table(cost_of, demo_artifacts, tmp_path):
    recorder = start(tmp_path / "run", {"int8": {}, "int4": {}})
    recorder.details("int8", "activations", cost_of(demo_artifacts["int8"]))
    recorder.details("int4", "activations", {"accuracy_levels": [4], "problem": "out of <memory>"})
    record = end(tmp_path / "run")
    int8, int4 = activation_table(record, "github").splitlines()[2:]
    assert len([cell for cell in int8.split("|") if "e-0" in cell or cell.strip() == "-"]) == 6
    assert "out of &lt;memory>" in int4


def test_parts_survive_the_disk(cost_of, demo_artifacts):
    value = read_details("activations", cost_of(demo_artifacts["int8"]))
    assert isinstance(value, ActivationCost)
    again = read_details("activations", json.loads(to_json(value)))
    assert again == value
