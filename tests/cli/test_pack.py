import pytest

from harness.cli.main import main
from harness.pack.load import load_pack
from tests.pack.samples import SAMPLES


@pytest.fixture
def sample(tmp_path):
    return SAMPLES["messages"](tmp_path)


def test_what_was_read_and_refused_is_shown_and_nothing_is_written(sample, capsys):
    assert main(["pack", str(sample.file)]) == 0
    shown = capsys.readouterr().out
    assert "200 rows of messages in JSON Lines, 188 cases" in shown
    assert all(f"line {line}: " in shown for line in sample.dirt)
    assert "draft = true" in shown
    assert "say --out DIR" in shown
    assert list(sample.file.parent.iterdir()) == [sample.file]


def test_a_pack_is_written_with_all_that_was_refused(sample, tmp_path, capsys):
    out = tmp_path / "a pack"
    assert main(["pack", str(sample.file), "--out", str(out), "--cases", "50"]) == 0
    assert f"slm-gate run --model MODEL --domain {out}" in capsys.readouterr().out
    assert len(load_pack(out).cases) == 50
    refused = (out / "not_taken.txt").read_text(encoding="utf-8")
    assert all(f"line {line}: " in refused for line in sample.dirt)


def test_what_was_read_and_refused_is_told_of_the_written_pack(sample, tmp_path):
    out = tmp_path / "a pack"
    assert main(["pack", str(sample.file), "--out", str(out)]) == 0
    first, *notes = load_pack(out).reading
    assert (
        first
        == f"200 rows of messages.jsonl (messages in JSON Lines) were read, 12 not taken: see {out / 'not_taken.txt'}"
    )
    assert "kinds are the values of status in the expected answers" in notes
    (out / "not_taken.txt").unlink()
    assert load_pack(out).reading[0].endswith("were read, 12 not taken")


def test_a_pack_of_which_every_row_was_taken_says_so(tmp_path):
    file, out = tmp_path / "short.jsonl", tmp_path / "pack"
    file.write_text("\n".join(f'{{"question": "q {n}?", "answer": "part {n}"}}' for n in range(40)))
    assert main(["pack", str(file), "--out", str(out)]) == 0
    assert load_pack(out).reading == (
        "40 rows of short.jsonl (columns in JSON Lines) were read, and every one was taken",
    )
    assert not (out / "not_taken.txt").exists()


def test_where_a_pack_comes_from_is_no_part_of_what_it_asks(sample, tmp_path):
    out = tmp_path / "pack"
    assert main(["pack", str(sample.file), "--out", str(out)]) == 0
    before = load_pack(out)
    text = (out / "domain.toml").read_text(encoding="utf-8")
    (out / "domain.toml").write_text(text.split("\n[read]")[0], encoding="utf-8")
    after = load_pack(out)
    assert after.reading == ()
    assert after.digest == before.digest


def test_a_pack_is_not_written_twice(sample, tmp_path, capsys):
    out = tmp_path / "pack"
    assert main(["pack", str(sample.file), "--out", str(out)]) == 0
    assert main(["pack", str(sample.file), "--out", str(out)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_columns_are_named_by_options(tmp_path, capsys):
    file = tmp_path / "tabelle.csv"
    file.write_text("Frage;Antwort;Art\n" + "".join(f"Was ist {n}?;Teil {n};{'ab'[n % 2]}\n" for n in range(12)))
    assert main(["pack", str(file)]) == 2
    assert "--question FIELD --answer FIELD; its fields are Frage, Antwort, Art" in capsys.readouterr().err
    assert main(["pack", str(file), "--question", "Frage", "--answer", "Antwort", "--kind", "Art"]) == 0
    assert "kinds are the values of Art" in capsys.readouterr().out


def test_a_missing_file_is_named(tmp_path, capsys):
    assert main(["pack", str(tmp_path / "nowhere.jsonl")]) == 2
    assert "nowhere.jsonl" in capsys.readouterr().err
