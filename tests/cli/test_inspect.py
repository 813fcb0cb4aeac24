import json

import pytest

from harness.cli.main import main
from tests.toys import write_artifact


def test_what_is_not_so_is_not_shown_as_so(tmp_path, capsys):
    assert main(["inspect", str(write_artifact(tmp_path / "made", symmetric=False))]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line[:1].strip())
    assert (rows["symmetries"], rows["has_shared_embeddings"]) == ("no", "no")


def test_the_same_facts_come_as_json(tmp_path, capsys):
    assert main(["inspect", str(write_artifact(tmp_path / "made")), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["precision"], facts["block_sizes"]) == ("int4", [32])


def test_a_folder_that_is_not_there_is_one_clear_message(tmp_path, capsys):
    assert main(["inspect", str(tmp_path / "nowhere")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("slm-gate: ")
    assert "nowhere" in told


@pytest.mark.toolchain
def test_a_converted_model_is_what_inspect_says(demo_artifact, capsys):
    assert main(["inspect", str(demo_artifact), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["precision"] == "int4"
    assert facts["block_sizes"] == [32]
