"""The built-in corpus: large enough, of every category, the same every time."""

import subprocess
import sys
import unicodedata
from collections import Counter

from harness.prompts.corpus import CONTROL, control_texts, corpus
from harness.system.paths import REPOSITORY


def test_it_has_hundreds_of_texts_of_every_category_and_none_twice():
    counts = Counter(text.category for text in corpus())
    assert len({text.text for text in corpus()}) == len(corpus()) >= 300
    assert set(counts) == {"prose", "code", "Markdown", "whitespace", "numbers", "scripts", "emoji", "repetition"}
    assert min(counts.values()) >= 15


def test_it_is_the_same_in_every_process():
    program = "from harness.prompts.corpus import corpus; import hashlib; print(hashlib.sha256(repr(corpus()).encode()).hexdigest())"
    said = {
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(REPOSITORY)},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(said) == 1


def test_it_holds_what_tokenizers_stumble_over():
    texts = [text.text for text in corpus()]
    assert any(unicodedata.normalize("NFC", text) != text for text in texts)
    for part in ("\r\n", "\n \n", " " * 32, "\n" * 6, "\u200d", "\u00a0", "\t\t", "e\u0301"):
        assert any(part in text for text in texts), repr(part)


def test_control_tokens_stand_alone_and_between_words():
    texts = {one.text for one in control_texts(["<s>", "{}"])}
    assert {"<s>", "a<s>b <s> \n<s>", "{}", "a{}b {} \n{}"} <= texts
    assert {one.category for one in control_texts(["<s>"])} == {CONTROL}
