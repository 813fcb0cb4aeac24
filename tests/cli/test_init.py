import re
import tomllib

import pytest

from harness.cli.main import main
from harness.config.load import load_config
from harness.errors import PackError
from harness.pack.load import load_pack
from tests.pack.samples import SAMPLES


@pytest.fixture
def sample(tmp_path):
    return SAMPLES["messages"](tmp_path)


def limits(folder):
    return tomllib.loads((folder / "gate.toml").read_text(encoding="utf-8"))["limits"]


def test_a_test_split_becomes_a_folder_that_can_be_run(sample, tmp_path, capsys):
    folder, model = tmp_path / "my gate", tmp_path / "model"
    model.mkdir()
    assert main(["init", str(folder), "--model", str(model), "--data", str(sample.file)]) == 0
    config = load_config(folder / "gate.toml")
    assert config.model.source == str(model.resolve())
    assert load_pack(config.domain.pack).digest
    assert set(config.variants) == {"int4", "int8", "fp16"}
    assert (folder / ".github" / "workflows" / "slm-gate.yml").is_file()
    assert f"slm-gate run --config {folder / 'gate.toml'}" in capsys.readouterr().out


def test_rows_that_are_not_asked_stay_in_the_folder(sample, tmp_path):
    assert main(["init", str(tmp_path / "gate"), "--data", str(sample.file)]) == 0
    pack = tmp_path / "gate" / "pack"
    assert load_pack(pack).reading[0].endswith(f"12 not taken: see {pack / 'not_taken.txt'}")
    assert (pack / "not_taken.txt").read_text(encoding="utf-8").count("\n") == 12


REACHED = {
    "a folder outside": ("../model", ["is the root of a repository", "outside of"]),
    "a folder inside": ("gate/model", ["is the root of a repository"]),
    "a hub id": ("org/model", ["is the root of a repository"]),
    "a repository": ("gate/model", []),
}


@pytest.mark.parametrize(("model", "told"), REACHED.values(), ids=REACHED)
def test_what_the_workflow_needs_is_said(tmp_path, monkeypatch, capsys, model, told):
    place = tmp_path / "work"
    (place / "gate" / ("model" if told else ".git")).mkdir(parents=True)
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(place)
    assert main(["init", "gate", "--model", model]) == 0
    shown = capsys.readouterr().out
    every = ("is the root of a repository", "outside of")
    assert [one for one in every if one in shown] == told


def test_every_limit_is_a_draft_that_says_so(sample, tmp_path):
    assert main(["init", str(tmp_path / "gate"), "--data", str(sample.file)]) == 0
    config = load_config(tmp_path / "gate" / "gate.toml")
    found = [*config.limits.values(), *(one for part in config.precisions.values() for one in part.limits.values())]
    assert len(found) > 15
    assert all(limit.reason.startswith("drafted: ") for limit in found)


def test_what_the_pack_does_not_ask_for_has_no_limit(tmp_path):
    file = tmp_path / "prose.jsonl"
    file.write_text("\n".join(f'{{"question": "q {n}?", "answer": "part {n}"}}' for n in range(40)))
    assert main(["init", str(tmp_path / "gate"), "--data", str(file)]) == 0
    assert not {"json_valid_rate", "out_of_scope_rate", "exact_match_final_rate"} & set(limits(tmp_path / "gate"))


def test_without_data_the_pack_is_refused_until_its_cases_are_replaced(tmp_path, capsys):
    folder = tmp_path / "gate"
    assert main(["init", str(folder)]) == 0
    assert "replace the cases in" in capsys.readouterr().out
    with pytest.raises(PackError, match="5 things are wrong"):
        load_pack(folder / "pack")
    cases = folder / "pack" / "cases.jsonl"
    count = iter(range(100))
    cases.write_text(re.sub('REPLACE ME[^"]*', lambda _: f"text {next(count)}", cases.read_text()))
    assert len(load_pack(folder / "pack").cases) == 5


@pytest.mark.parametrize(("device", "memory"), [("laptop", 4 * 2**30), ("edge-4gb", 2 * 2**30)])
def test_a_device_is_named(sample, tmp_path, device, memory):
    folder = tmp_path / "gate"
    assert main(["init", str(folder), "--data", str(sample.file), "--device", device]) == 0
    config = load_config(folder / "gate.toml")
    assert config.device.profile == device
    assert config.limits_for("int4")["peak_rss_bytes"].max == memory
    assert f"peak_rss_bytes at most {memory / 2**30:.1f} GiB" in (folder / "gate.toml").read_text(encoding="utf-8")


def test_this_machine_is_a_device(sample, tmp_path):
    assert main(["init", str(tmp_path / "gate"), "--data", str(sample.file), "--device", "here"]) == 0
    assert limits(tmp_path / "gate")["peak_rss_bytes"]["max"] > 2**27


def test_nothing_of_the_users_is_overwritten(tmp_path, capsys):
    (tmp_path / "gate.toml").write_text("mine")
    assert main(["init", str(tmp_path)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["gate.toml"]


def test_measuring_needs_a_model_and_data(tmp_path, capsys):
    assert main(["init", str(tmp_path / "gate"), "--measure"]) == 2
    assert "give --model and --data too" in capsys.readouterr().err
    assert not (tmp_path / "gate").exists()
